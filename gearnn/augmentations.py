"""The augmentation that a run's settings name."""

from __future__ import annotations

from typing import Any

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
    mixture = (settings.width, settings.depth, views, settings.alpha)
    try:
        if settings.kind == "prime":
            return PRIME(("diffeomorphism", "colour", "filter"), *mixture, pad=pad, flip=flip, **output)
        return ERA(settings.severity, *mixture, pad=pad, flip=flip, **output)
    except ValueError as error:
        raise UserError(f"{error} (see the options that begin with --augmentation)") from error
