"""Spread and paired differences by hand."""

from __future__ import annotations

import pytest

from benchmarks.evidence.stats import difference, ratio, spread, student


def test_spread_is_that_of_a_sample() -> None:
    found = spread([1.0, 2.0, 4.5])
    assert found is not None
    assert (found.mean, found.n) == (2.5, 3)
    assert found.sd == pytest.approx((3.25) ** 0.5)  # (2.25 + 0.25 + 4) / 2


def test_one_value_has_no_spread_and_missing_values_no_mean() -> None:
    alone = spread([3.0])
    assert alone is not None
    assert alone.sd is None
    assert spread([1.0, None]) is None
    assert spread([]) is None


def test_differences_are_taken_seed_by_seed() -> None:
    found = difference({0: 11.0, 1: 22.0, 2: 33.0, 7: 99.0}, {0: 10.0, 1: 20.0, 2: 30.0})
    assert found is not None
    assert (found.mean, found.sd, found.n) == (2.0, 1.0, 3)
    # 4.3027 · 1 / √3
    assert found.low == pytest.approx(2 - 2.4841, abs=1e-3)
    assert found.high == pytest.approx(2 + 2.4841, abs=1e-3)
    assert found.beyond_chance is False


def test_an_interval_that_leaves_out_zero() -> None:
    found = difference({0: 1.1, 1: 1.0, 2: 0.9}, {0: 0.0, 1: 0.0, 2: 0.0})
    assert found is not None
    assert found.beyond_chance is True


def test_one_pair_has_no_interval_and_no_pair_no_difference() -> None:
    alone = difference({0: 2.0, 1: 5.0}, {0: 1.5})
    assert alone is not None
    assert (alone.mean, alone.low, alone.beyond_chance) == (0.5, None, None)
    assert difference({0: 2.0}, {1: 1.0}) is None


def test_no_ratio_where_something_was_not_measured() -> None:
    assert ratio({0: 1.0, 1: None}, {0: 4.0, 1: 12.0}) is None
    assert ratio({0: 1.0}, {0: 0.0}) is None


def test_ratios_are_taken_seed_by_seed() -> None:
    found = ratio({0: 1.0, 1: 9.0}, {0: 4.0, 1: 12.0})
    assert found is not None
    assert (found.mean, found.n) == (0.5, 2)


@pytest.mark.parametrize(("degrees", "quantile"), [(1, 12.706), (2, 4.303), (4, 2.776), (30, 2.042)])
def test_students_quantiles_are_those_of_the_tables(degrees: int, quantile: float) -> None:
    assert student(degrees) == pytest.approx(quantile, abs=1e-3)
