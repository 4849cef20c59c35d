"""Calibration, intervals and mCE against numbers worked out by hand or by SciPy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom

from gearnn.errors import UserError
from gearnn.robustness.scores import bootstrap_interval, calibration_error, confidence_gaps, mean_corruption_error


def _logits(confidences: np.ndarray) -> np.ndarray:
    """Two classes; class 0 has these probabilities."""
    return np.log(np.stack([confidences, 1 - confidences], axis=1))


def test_calibration_error_by_hand() -> None:
    # Bins of 1/15: 0.62 and 0.65 share (9/15, 10/15], 0.95 and 0.97 (14/15, 1], 0.80 lies alone just inside (11/15, 12/15].
    confidences = np.array([0.62, 0.65, 0.95, 0.97, 0.7999])
    labels = np.array([0, 1, 0, 0, 1])
    by_hand = 2 / 5 * abs(1 / 2 - 0.635) + 2 / 5 * abs(1 - 0.96) + 1 / 5 * abs(0 - 0.7999)
    assert calibration_error(confidence_gaps(_logits(confidences), labels), 5) == pytest.approx(by_hand)


def test_bins_are_closed_above() -> None:
    # exactly 3/4 belongs to the third of four bins, together with 0.7: one of two right. In bins closed below it would not.
    gaps = confidence_gaps(_logits(np.array([0.75, 0.7])), np.array([0, 1]), bins=4)
    np.testing.assert_allclose(gaps, [0, 0, 1 - 0.75 - 0.7, 0], atol=1e-12)
    sure = confidence_gaps(np.array([[1000.0, 0.0]]), np.array([1]))
    np.testing.assert_allclose(sure, [0] * 14 + [-1])


def test_calibration_error_matches_the_formula_and_batches_add_up() -> None:
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(0, 2, (500, 10)).astype(np.float32), rng.integers(0, 10, 500)
    probabilities = np.exp(logits.astype(float)) / np.exp(logits.astype(float)).sum(1, keepdims=True)
    confidence, right = probabilities.max(1), logits.argmax(1) == labels
    direct = 0.0
    for m in range(1, 16):
        inside = (confidence > (m - 1) / 15) & (confidence <= m / 15)
        if inside.any():
            direct += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    batches = sum(confidence_gaps(logits[rows], labels[rows]) for rows in (slice(0, 123), slice(123, 500)))
    assert calibration_error(np.asarray(batches), 500) == pytest.approx(direct)


def test_logits_that_are_no_numbers_have_no_calibration() -> None:
    gaps = confidence_gaps(np.array([[1.0, 2.0], [np.inf, np.inf]]), np.array([0, 1]))
    assert calibration_error(gaps, 2) is None


def test_the_interval_of_yes_and_no_is_binomial() -> None:
    right = np.arange(400) < 312
    low, high = bootstrap_interval(right, resamples=100_000)
    assert low == pytest.approx(binom.ppf(0.025, 400, 0.78) / 400, abs=1.01 / 400)
    assert high == pytest.approx(binom.ppf(0.975, 400, 0.78) / 400, abs=1.01 / 400)
    assert bootstrap_interval(right, seed=1) == bootstrap_interval(right[::-1], seed=1)
    assert bootstrap_interval(np.ones(50)) == (1, 1)


def test_intervals_cover_the_truth_as_often_as_they_say() -> None:
    """Images of unequal difficulty, each in 75 versions: only intervals over whole images cover."""
    rng = np.random.default_rng(3)
    covered = naive = 0
    for trial in range(300):
        difficulty = rng.beta(1, 1, 300)  # the share of an image's versions that is recognised has mean 1/2
        hits = rng.binomial(75, difficulty)
        low, high = bootstrap_interval(hits / 75, seed=trial, resamples=1000)
        covered += low <= 0.5 <= high
        half = 1.96 * np.sqrt(0.25 / (300 * 75))
        naive += abs(np.mean(hits / 75) - 0.5) <= half
    assert 0.91 <= covered / 300 <= 0.98
    assert naive / 300 < 0.5


def test_differences_can_be_bootstrapped_too() -> None:
    rng = np.random.default_rng(5)
    hits = rng.binomial(75, 0.6, 500)
    low, high = bootstrap_interval((hits + 1) / 75 - hits / 75)
    assert (low, high) == pytest.approx((1 / 75, 1 / 75))


def test_mean_corruption_error_by_hand() -> None:
    mine = {"fog": (0.9, 0.7), "snow": (0.5, 0.5)}
    baseline = {"fog": (0.8, 0.4), "snow": (0.8, 0.7)}
    # (0.1 + 0.3)/(0.2 + 0.6) = 1/2; (0.5 + 0.5)/(0.2 + 0.3) = 2. The ratio of the mean errors would be 1.4/1.3.
    assert mean_corruption_error(mine, baseline) == pytest.approx((0.5 + 2) / 2)
    assert mean_corruption_error(mine, mine) == pytest.approx(1)
    assert mean_corruption_error(mine, {**baseline, "fog": (1.0, 1.0)}) is None
    with pytest.raises(UserError, match="same corruptions"):
        mean_corruption_error(mine, {"fog": (0.8, 0.4)})
    with pytest.raises(UserError, match="same corruptions"):
        mean_corruption_error(mine, {"fog": (0.8,), "snow": (0.8,)})
