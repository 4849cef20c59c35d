"""Pictures for the kernels: textured, never blank."""

from __future__ import annotations

from typing import Callable

import numpy as np
import pytest


@pytest.fixture(scope="session")
def pictures() -> Callable[..., np.ndarray]:
    """``pictures(seed, batch, channels, height, width)`` → uint8: random surfaces, some stepped, of any range."""

    def make(seed: int, batch: int, channels: int, height: int, width: int) -> np.ndarray:
        generator = np.random.default_rng(seed)
        shape = (batch, channels, height, width)
        surface = generator.normal(size=shape).cumsum(2).cumsum(3)
        surface -= surface.min((2, 3), keepdims=True)
        surface /= surface.max((2, 3), keepdims=True) + 1e-9
        surface = np.where(generator.random((batch, 1, 1, 1)) < 0.5, np.round(surface * 6) / 6, surface)
        low = generator.integers(0, 100, (batch, channels, 1, 1))
        high = generator.integers(120, 256, (batch, channels, 1, 1))
        noise = generator.normal(0, 2, shape) * (generator.random((batch, 1, 1, 1)) < 0.5)
        return np.asarray(np.clip(low + surface * (high - low) + noise, 0, 255), np.uint8)

    return make
