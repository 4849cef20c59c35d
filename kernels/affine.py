"""The geometric operations of a plan as affine maps from output to source pixels."""

from __future__ import annotations

from typing import Tuple

import numpy as np

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
    height, width = image_size
    args = args.astype(np.float64)
    matrices = np.zeros((len(ops), 6))
    matrices[:, 0] = matrices[:, 4] = 1
    for name, place in (("shear_x", 1), ("shear_y", 3), ("translate_x", 2), ("translate_y", 5)):
        rows = ops == OPERATIONS.index(name)
        matrices[rows, place] = args[rows]
    turned = np.flatnonzero((ops == OPERATIONS.index("rotate")) & (args != 0))
    angle = -np.radians(args[turned])
    cos, sin = np.cos(angle), np.sin(angle)
    x, y = width / 2, height / 2
    matrices[turned] = np.stack((cos, sin, x - cos * x - sin * y, -sin, cos, y + sin * x - cos * y), axis=1)
    return matrices


def fixed_point(matrices: np.ndarray) -> np.ndarray:
    """float64 matrices (N, 6) as int64 in units of 2⁻³², to the nearest.

    Slopes are held within ±64 and offsets within ±2²⁶ pixels, far beyond what leaves an image in view, so that no sum overflows.
    """
    limits = np.array([2.0**6, 2.0**6, 2.0**26] * 2)
    return np.rint(np.clip(matrices, -limits, limits) * 2.0**32).astype(np.int64)
