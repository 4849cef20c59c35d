from __future__ import annotations

import numpy as np
import pytest

from gearnn.proportions import chance_of_loss, wilson_interval


@pytest.mark.parametrize(
    ("right", "total", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_intervals_are_those_that_newcombe_printed(right: int, total: int, low: float, high: float) -> None:
    """Method 3 (score) of table I in Newcombe, Statistics in Medicine 17 (1998)."""
    assert wilson_interval(right, total) == pytest.approx((low, high), abs=5e-5)


def test_intervals_stay_within_0_and_1_and_shrink_with_images() -> None:
    assert wilson_interval(7, 7)[1] == 1 and wilson_interval(7, 7)[0] == pytest.approx(0.6457, abs=1e-4)
    few, many = wilson_interval(35, 49), wilson_interval(3500, 4900)
    assert few[0] < many[0] < 35 / 49 < many[1] < few[1]


def test_a_count_that_a_damaged_file_made_up_is_no_overflow() -> None:
    images = int(1.7e308)
    assert wilson_interval(0.5 * images, images) == pytest.approx((0.5, 0.5))


def test_right_and_wrong_is_mcnemars_exact_test() -> None:
    losses = np.array([1] * 8 + [-1] * 2 + [0] * 90)
    assert chance_of_loss(losses) == pytest.approx((45 + 10 + 1) / 1024)
    assert chance_of_loss(-losses) == pytest.approx(1 - (1 + 10) / 1024)
    assert chance_of_loss(np.array([1, 0, 0])) == 0.5
    assert chance_of_loss(np.zeros(5, int)) == 1.0


def test_sums_over_versions_are_tested_by_images() -> None:
    generator = np.random.default_rng(1)
    noise = generator.integers(-3, 4, 400)
    assert 0.05 < chance_of_loss(noise) < 0.95
    assert chance_of_loss(noise + 1) < 0.001 < 0.999 < chance_of_loss(noise - 1)
    assert chance_of_loss(np.array([60, 1, -1, 1, -1])) > 0.3  # one image with many versions is still one image
