"""What other installed packages add, by their entry points; looked up only when a name is asked for or listed."""

from __future__ import annotations

from typing import Any, Iterator, List, Optional, Tuple, Type, TypeVar

from gearnn.engine.errors import reason
from gearnn.errors import UserError

T = TypeVar("T")

MODELS = "gearnn.models"
"""Group of entry points that name a `gearnn.models.Entry`."""
GROWERS = "gearnn.growers"
"""Group of entry points that name a `gearnn.growth.growers.Entry`."""


def plugin_names(group: str) -> List[str]:
    """The names that installed packages offer in a group, sorted; none of the packages is imported."""
    return sorted({point.name for point, _ in _points(group)})


def find_plugin(group: str, name: str, kind: Type[T]) -> Optional[T]:
    """What an installed package offers under a name, or None if none does; of several, the first on ``sys.path``.

    Args:
        group: `MODELS` or `GROWERS`.
        kind: what it must be.

    Raises:
        UserError: naming the package, if it cannot be imported or offers something else.
    """
    for point, package in _points(group):
        if point.name == name:
            try:
                found = point.load()
            except Exception as error:  # whatever a package does when it is imported
                raise UserError(
                    f"the package {package} cannot provide {name!r} ({type(error).__name__}: {reason(error)}): "
                    f"repair it, or pip uninstall {package}"
                ) from error
            if not isinstance(found, kind):
                raise UserError(
                    f"the package {package} offers {name!r} as a {type(found).__name__}: its entry point {point.value} must be "
                    f"a {kind.__module__}.{kind.__qualname__}"
                )
            return found
    return None


def _points(group: str) -> Iterator[Tuple[Any, str]]:
    """Entry points of a group, each with its package's name; asked of each package, which is alike in every Python."""
    from importlib.metadata import distributions

    for package in distributions():
        for point in package.entry_points:
            if point.group == group:
                yield point, package.metadata["Name"]
