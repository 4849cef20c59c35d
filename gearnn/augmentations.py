"""The augmentation that a run's settings name."""

from __future__ import annotations

from typing import Any, Dict

from gearnn.augmenter import Augmenter
from gearnn.config import Augmentation
from gearnn.era import ERA
from gearnn.errors import UserError
from gearnn.prime import PRIME


def augmenter_from(settings: Augmentation, views: int, *, pad: int = 0, flip: bool = False, **output: Any) -> Augmenter:
    """ERA, or PRIME's primitives in its place, with a run's settings; ``output`` are the options for what comes out.

    Raises:
        UserError: if a setting is out of its range.
    """
    mixture: Dict[str, Any] = {"width": settings.width, "depth": settings.depth, "views": views, "alpha": settings.alpha}
    try:
        if settings.kind == "prime":
            return PRIME(**mixture, pad=pad, flip=flip, **output)
        return ERA(settings.severity, **mixture, pad=pad, flip=flip, **output)
    except ValueError as error:
        raise UserError(f"{error} (see the options that begin with --augmentation)") from error
