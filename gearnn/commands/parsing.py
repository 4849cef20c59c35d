"""Options from typed dataclasses, in the same way for every command."""

from __future__ import annotations

import dataclasses
import difflib
import inspect
import json
import re
import shlex
from typing import Any, Iterator, List, Optional, Sequence, Type, TypeVar

import tyro

from gearnn.errors import UserError

T = TypeVar("T")


def parse(form: Type[T], arguments: List[str], command: str, default: Optional[T] = None) -> T:
    """Fill a dataclass from arguments; wrong values end the process with exit code 2 and a message, ``--help`` with 0.

    Raises:
        UserError: for an option that there is not.
    """
    # Given as it is: a parsed docstring would lose its examples. tyro doubles a blank line before what is indented.
    description = re.sub(r"\n\n(?= )", "\n", inspect.cleandoc(form.__doc__ or ""))
    start = tyro.MISSING_NONPROP if default is None else default
    options, unknown = tyro.cli(
        form, args=arguments, default=start, prog=f"gearnn {command}", description=description, return_unknown_args=True
    )
    if unknown:
        raise UserError(_not_known(unknown, list(_names(options)), command, arguments))
    seed = getattr(options, "seed", None)
    if seed is not None and seed < 0:
        raise UserError(f"--seed must be 0 or more, not {seed}")
    return options


def _names(options: Any, prefix: str = "--") -> Iterator[str]:
    """The options of a dataclass as they are written."""
    for field in dataclasses.fields(options):
        value, name = getattr(options, field.name), field.name.replace("_", "-")
        if dataclasses.is_dataclass(value):
            yield from _names(value, prefix if "arg(name=" in str(field.type) else f"{prefix}{name}.")
        elif "Positional" not in str(field.type):
            yield prefix + name
            if isinstance(value, bool):
                yield f"{prefix}no-{name}"


def _not_known(unknown: Sequence[str], names: Sequence[str], command: str, arguments: Sequence[str]) -> str:
    """One sentence on arguments that the command does not take; options of a group may have been named without it."""
    option = next((word.split("=")[0] for word in unknown if word.startswith("-")), None)
    if option is None:
        return f"gearnn {command} does not take {unknown[0]!r}: {_meant(unknown[0], arguments, command)}"
    word = option.lstrip("-").replace("_", "-")
    grouped = [name for name in names if name.endswith(f".{word}") or name.startswith(f"--{word}.")]
    close = grouped or [f"--{name}" for name in difflib.get_close_matches(word, [name[2:] for name in names], n=1)]
    hint = f"did you mean {' or '.join(close)}?" if close else f"see gearnn {command} --help"
    return f"gearnn {command} has no option {option}: {hint}"


def _meant(word: str, arguments: Sequence[str], command: str) -> str:
    """The option that a word without one probably belongs to."""
    given = {argument.split("=")[0] for argument in arguments}
    option = "--out" if "--resume" in given else "--data"
    if command in ("run", "demo") and option not in given:
        return f"did you mean {option} {shlex.quote(word)}?"
    return f"see gearnn {command} --help"


def print_json(value: Any) -> None:
    """The result on standard output, strictly JSON."""
    print(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False))
