"""Real images to corrupt."""

from __future__ import annotations

import numpy as np
import pytest


@pytest.fixture(scope="session")
def photos() -> np.ndarray:
    """Tiles of scikit-learn's two sample photographs, uint8 (48, 3, 32, 32), shrunk so that they hold whole things."""
    import cv2
    from sklearn.datasets import load_sample_images

    tiles = []
    for photo in load_sample_images().images:
        small = cv2.resize(photo, (192, 128), interpolation=cv2.INTER_AREA)
        tiles += [small[y : y + 32, x : x + 32] for y in range(0, 128, 32) for x in range(0, 192, 32)]
    return np.ascontiguousarray(np.stack(tiles).transpose(0, 3, 1, 2))
