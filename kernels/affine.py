"""The geometric operations of a plan as affine maps from output to source pixels."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Callable, Tuple

import numpy as np

from .compiling import cache_on_disk
from .era_plan import OPERATIONS


def affine_matrices(ops: np.ndarray, args: np.ndarray, image_size: Tuple[int, int]) -> np.ndarray:
    """The maps from output to source coordinates, in pixels with centres at half-integers.

    Rotations are about the middle of the image, counter-clockwise, like ``Image.rotate``; shears and translations are those
    of AugMix, ``Image.transform(size, AFFINE, (1, slope, 0, 0, 1, 0))`` and the like.

    Args:
        ops: integers (N,), positions in ``OPERATIONS``; those that are not geometric get the identity.
        args: floats (N,), as in ``EraPlan.args``.
        image_size: (height, width) in pixels.

    Returns:
        float64 (N, 6): a, b, c, d, e, f of x' = a·x + b·y + c, y' = d·x + e·y + f.
    """
    matrices = np.empty((len(ops), 6))
    _compiled()(ops, args, *image_size, matrices)
    return matrices


def fixed_point(matrices: np.ndarray) -> np.ndarray:
    """float64 matrices (N, 6) as int64 in units of 2⁻³², to the nearest.

    Slopes are held within ±64 and offsets within ±2²⁶ pixels, far beyond what leaves an image in view, so that no sum overflows.
    """
    limits = np.array([2.0**6, 2.0**6, 2.0**26] * 2)
    held = np.minimum(matrices, limits)
    np.maximum(held, -limits, out=held)
    return np.rint(held * 2.0**32).astype(np.int64)


@lru_cache(maxsize=None)
def _compiled() -> Callable[..., Any]:
    """Fills float64 (N, 6): compiled, since NumPy's cost per call took a tenth of a call of ERA on two threads."""
    import numba

    shear_x, shear_y, translate_x, translate_y, rotate = (
        OPERATIONS.index(name) for name in ("shear_x", "shear_y", "translate_x", "translate_y", "rotate")
    )

    @numba.njit(error_model="numpy", nogil=True)
    def fill(ops, args, height, width, matrices):
        x, y = width / 2, height / 2
        for n, (op, strength) in enumerate(zip(ops, args)):
            a, b, c, d, e, f = 1.0, 0.0, 0.0, 0.0, 1.0, 0.0
            arg = np.float64(strength)
            if op == shear_x:
                b = arg
            elif op == shear_y:
                d = arg
            elif op == translate_x:
                c = arg
            elif op == translate_y:
                f = arg
            elif op == rotate and arg != 0:
                angle = -np.radians(arg)
                cos, sin = np.cos(angle), np.sin(angle)
                a, b, c = cos, sin, x - cos * x - sin * y
                d, e, f = -sin, cos, y + sin * x - cos * y
            matrices[n, 0], matrices[n, 1], matrices[n, 2] = a, b, c
            matrices[n, 3], matrices[n, 4], matrices[n, 5] = d, e, f

    cache_on_disk(fill, "affine")
    function: Callable[..., Any] = fill
    return function
