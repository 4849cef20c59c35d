"""What counts of test images can tell: intervals of an accuracy, and whether two networks differ on the same images."""

from __future__ import annotations

from math import comb, sqrt
from typing import Tuple

import numpy as np

FEW = 100
"""Test images below which differences of a point or two cannot be told: one image is more than a point."""
_Z = 1.959964  # 95 %, two-sided
_DRAWS = 20_000


def wilson_interval(right: float, total: float) -> Tuple[float, float]:
    """The 95 % score interval of a share (Wilson, JASA 22, 1927): it holds for few images, and for shares near 0 and 1.

    Args:
        right: how many of ``total`` (at least 1).

    Returns:
        (low, high), fractions.
    """
    share, spread = right / total, _Z**2 / total
    centre = (share + spread / 2) / (1 + spread)
    half = _Z / (1 + spread) * sqrt(share * (1 - share) / total + spread / 4 / total)
    return max(0.0, centre - half), min(1.0, centre + half)


def chance_of_loss(losses: np.ndarray) -> float:
    """How often chance alone would make one network lose so much against another that is as good as it: one-sided p.

    The sign of each image's difference is as likely one as the other where the two are equally good (Fisher's randomisation
    test for pairs). Of images that are right or wrong that is McNemar's exact test (Psychometrika 12, 1947), and is computed as
    such; of sums over an image's versions the signs are drawn 20,000 times, keyed, so that a figure does not change.

    Args:
        losses: integers (N,), by how much the other network does better on each of the same images.
    """
    sizes, counts = np.unique(np.abs(losses[losses != 0]), return_counts=True)
    if not len(sizes):
        return 1.0
    if len(sizes) == 1:
        return _tail(int(np.count_nonzero(losses > 0)), int(counts[0]))
    generator = np.random.default_rng(0)
    sums = sum(
        size * (2 * generator.binomial(count, 0.5, _DRAWS) - count) for size, count in zip(sizes.tolist(), counts.tolist())
    )
    return float((1 + np.count_nonzero(sums >= losses.sum())) / (1 + _DRAWS))


def _tail(least: int, of: int) -> float:
    """The chance of at least so many heads of fair coins."""
    term, total = comb(of, least), 0
    for heads in range(least, of + 1):
        total += term
        term = term * (of - heads) // (heads + 1)
    return total / 2**of
