"""What is said of a network beside its accuracy: calibration, uncertainty, errors relative to a baseline. Pure functions."""

from __future__ import annotations

from typing import Mapping, Optional, Sequence, Tuple

import numpy as np

from gearnn.errors import UserError

BINS = 15


def confidence_gaps(logits: np.ndarray, labels: np.ndarray, bins: int = BINS) -> np.ndarray:
    """How far confidence and accuracy lie apart, bin by bin; the sums of batches may be added up.

    The confidence of an image is the largest softmax probability. Bin m of M holds those in ((m − 1)/M, m/M]: all bins are
    equally wide (Guo et al., "On calibration of modern neural networks", ICML 2017, section 2).

    Args:
        logits: float (N, K), before the softmax.
        labels: integers (N,).
        bins: M.

    Returns:
        float64 (M,): the sum of (1 if right, else 0) − confidence over the images of each bin. NaN in the first bin where
        logits are not finite.
    """
    values = np.asarray(logits, dtype=np.float64)
    right = values.argmax(1) == labels
    with np.errstate(invalid="ignore"):  # inf − inf, told by the NaN
        shifted = np.exp(values - values.max(1, keepdims=True))
        confidence = 1 / shifted.sum(1)
    place = np.clip(np.ceil(np.nan_to_num(confidence) * bins) - 1, 0, bins - 1).astype(np.intp)
    return np.bincount(place, weights=right - confidence, minlength=bins)


def calibration_error(gaps: np.ndarray, count: int) -> Optional[float]:
    """Expected calibration error: Σ over bins of (images in it / all) · |its accuracy − its mean confidence|.

    Equation 3 of Guo et al. (ICML 2017); the number of images in a bin cancels.

    Args:
        gaps: float64 (M,), the sums of `confidence_gaps` over all batches.
        count: the number of images.

    Returns:
        A fraction; None if some logits were not finite.
    """
    error = float(np.abs(gaps).sum() / count)
    return error if np.isfinite(error) else None


def bootstrap_interval(values: np.ndarray, *, seed: int = 0, level: float = 0.95, resamples: int = 10_000) -> Tuple[float, float]:
    """Percentile bootstrap interval of the mean over images (Efron & Tibshirani 1993, chapter 13).

    Images are drawn with replacement. How often each *distinct* value comes up in such a draw is multinomial, so that is drawn
    instead: the same distribution, and the cost depends on the number of distinct values only.

    Args:
        values: (N,), one per image: whether it was recognised, the share of its corrupted versions that were, or the
            difference of two networks in either.
        seed: of the draws, any integer, taken modulo 2**32.
        level: share of intervals that should cover the true mean.
        resamples: draws of N images.

    Returns:
        (low, high). Both are the mean itself where all values are equal.
    """
    distinct, counts = np.unique(values, return_counts=True)
    draws = np.random.default_rng(seed % 2**32).multinomial(len(values), counts / len(values), size=resamples)
    low, high = np.quantile(draws @ distinct.astype(np.float64) / len(values), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def mean_corruption_error(accuracies: Mapping[str, Sequence[float]], baseline: Mapping[str, Sequence[float]]) -> Optional[float]:
    """mCE: the mean over corruptions of Σ over severities of the error / Σ of the baseline's error.

    Hendrycks & Dietterich (ICLR 2019), section 4.1, as a ratio: 1 is as good as the baseline, smaller is better. They print
    100 times this, and divide by AlexNet's errors.

    Args:
        accuracies, baseline: corruption → accuracy (fraction) at each severity.

    Returns:
        None where the baseline makes no error on a corruption, which leaves the ratio undefined.

    Raises:
        UserError: if the corruptions or the numbers of severities differ.
    """
    if {name: len(row) for name, row in accuracies.items()} != {name: len(row) for name, row in baseline.items()}:
        raise UserError("mCE compares a network with a baseline on the same corruptions and severities: measure both on the same")
    errors = {name: (len(row) - sum(row), len(baseline[name]) - sum(baseline[name])) for name, row in accuracies.items()}
    if any(reference <= 0 for _, reference in errors.values()):
        return None
    return float(np.mean([error / reference for error, reference in errors.values()]))
