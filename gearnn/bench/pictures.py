"""Real pictures to time on, where there are some."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Callable, Optional, Tuple

import numpy as np

from gearnn.data import load_data

_AT_MOST = 512


def pictures_from(folder: Optional[Path], seed: int) -> Tuple[str, Callable[[int], Optional[np.ndarray]]]:
    """What the pictures are, and size → uint8 (N, 3, S, S), or None where pictures are to be generated.

    Raises:
        UserError: if the folder cannot be read, or its pictures are not in colour.
    """
    given = folder or (Path(os.environ["GEARNN_DATA"]) if os.environ.get("GEARNN_DATA") else None)
    if given is None:
        return "generated: smooth random surfaces with noise", lambda size: None
    chosen: Path = given

    def pictures(size: int) -> Optional[np.ndarray]:
        dataset = load_data(chosen, image_size=size, limit_train=_AT_MOST, limit_test=None, seed=seed)
        images = np.asarray(dataset.train.images[:_AT_MOST])
        return np.repeat(images, 3, axis=1) if images.shape[1] == 1 else images

    return f"from {chosen.name}", pictures
