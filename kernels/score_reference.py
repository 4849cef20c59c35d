"""Channel sums in float64 with NumPy: what the kernels are held to."""

from __future__ import annotations

import numpy as np


def channel_sums_reference(a: np.ndarray, g: np.ndarray) -> np.ndarray:
    """Σ g·a, Σ g², Σ a² per channel of floating-point (N, C, ...), float64 (3, C)."""
    a, g = (array.astype(np.float64).reshape(*array.shape[:2], -1) for array in (a, g))
    return np.stack([np.einsum("ncs,ncs->c", left, right) for left, right in ((g, a), (g, g), (a, a))])
