"""What to time on: real pictures where there are some, else textured surfaces; never blank ones, which are cheap to equalize."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Callable, Optional, Tuple

import numpy as np

from gearnn.data import load_data
from gearnn.progress import Progress, no_progress

Pictures = Callable[[int, int], np.ndarray]
"""(count, size) → uint8 (count, 3, size, size)."""


def pictures_from(folder: Optional[Path], seed: int, progress: Progress = no_progress) -> Tuple[str, Pictures]:
    """What the pictures are, in words, and where to get them; without a folder those of $GEARNN_DATA, else generated ones.

    Raises:
        UserError: when pictures are asked for, if the folder cannot be read at that size.
    """
    given = folder or (Path(os.environ["GEARNN_DATA"]) if os.environ.get("GEARNN_DATA") else None)
    if given is None:
        return "generated: smooth random surfaces with noise", lambda count, size: textured(count, size, seed)
    chosen: Path = given

    def pictures(count: int, size: int) -> np.ndarray:
        dataset = load_data(chosen, image_size=size, limit_train=count, limit_test=count, seed=seed, progress=progress)
        images = np.asarray(dataset.train.images)[np.arange(count) % len(dataset.train)]
        return np.repeat(images, 3, axis=1) if images.shape[1] == 1 else images

    return f"from {chosen.name}, resized", pictures


def textured(count: int, size: int, seed: int) -> np.ndarray:
    """Smooth random surfaces with noise, uint8 (count, 3, size, size), each over the whole range of levels."""
    generator = np.random.default_rng(seed)
    coarse = generator.normal(size=(count, 3, size // 4 + 2, size // 4 + 2)).cumsum(2).cumsum(3)
    surface = np.kron(coarse, np.ones((4, 4)))[:, :, :size, :size] + generator.normal(0, 0.5, (count, 3, size, size))
    surface -= surface.min((1, 2, 3), keepdims=True)
    return np.asarray(255 * surface / surface.max((1, 2, 3), keepdims=True), np.uint8)
