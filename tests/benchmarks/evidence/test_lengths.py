"""Epochs by hand."""

from __future__ import annotations

from typing import Any, Callable

import pytest

from benchmarks.evidence.lengths import cost, equalised, scaled, usual
from benchmarks.evidence.rows import ROWS, Equal, Row
from gearnn.errors import UserError

ONE = (("seed", "train", 4, 4, 40.0, 400), ("growth", "grow", 4, 1, 8.0, 100), ("regrow", "train", 4, 4, 160.0, 400))
TWO = (
    ("seed", "train", 1, 4, 10.0, 400),
    ("growth", "grow", 1, 1, 2.0, 100),
    ("regrow", "train", 1, 4, 36.0, 400),
    ("era", "train", 4, 2, 80.0, 200),
)


def test_scaling_keeps_one_epoch_where_there_are_any() -> None:
    assert [scaled(epochs, 0.075) for epochs in (160, 40, 20, 1, 0)] == [12, 3, 2, 1, 0]


def test_usual_epochs_are_the_presets_by_the_factor() -> None:
    assert usual(ROWS["small-augmix"], 0.075) == {"seed": 0, "era": 12}
    assert usual(ROWS["gearnn-1"], 0.25) == {"seed": 10, "regrow": 10}
    assert usual(ROWS["gearnn-2"], 1.0) == {"seed": 40, "regrow": 40, "era": 40}


def test_equal_rows_wait_for_what_decides_them(make_result: Callable[..., Any]) -> None:
    row = ROWS["gearnn-1-equal-time"]
    assert equalised(row, 0.1, {"gearnn-2": make_result(TWO)}) is None


def test_equal_time_scales_the_base_and_the_last_phase_takes_up_the_rounding(make_result: Callable[..., Any]) -> None:
    # To spend: 128 s, 8 of them on growth. Ratio 120 / 200 = 0.6: 4 → 2.4 → 2 seed epochs at 10 s; 100 s are left for 2.5 → 3
    # at 40 s.
    found = equalised(ROWS["gearnn-1-equal-time"], 0.1, {"gearnn-1": make_result(ONE), "gearnn-2": make_result(TWO)})
    assert found == {"seed": 2, "regrow": 3}


def test_equal_compute_counts_views_times_macs(make_result: Callable[..., Any]) -> None:
    one, two = make_result(ONE), make_result(TWO)
    assert cost(one, one["phases"][0], "compute") == 400 * 4 * 10
    assert cost(one, one["phases"][1], "compute") == 0
    # Two: 4,000 + 40,000 + 80,000 = 124,000; one: 16,000 + 160,000 = 176,000. Ratio 0.70: 4 → 2.8 → 3 seed epochs at 4,000;
    # 112,000 are left: 2.8 → 3 at 40,000.
    assert equalised(ROWS["gearnn-1-equal-compute"], 0.1, {"gearnn-1": one, "gearnn-2": two}) == {"seed": 3, "regrow": 3}


def test_a_fixed_size_trains_clean_for_as_long_as_growth_took(make_result: Callable[..., Any]) -> None:
    # 10 + 2 + 36 s before the robust phase, at 9 s an epoch once grown: 5.33 epochs.
    found = equalised(ROWS["clean-then-era-equal-time"], 0.1, {"gearnn-2": make_result(TWO)})
    assert found == {"seed": 5, "era": 2}


def test_without_clean_training_after_growth_all_of_the_cost_goes_to_robust_epochs(make_result: Callable[..., Any]) -> None:
    # 10 + 2 + 80 s, at 40 s an epoch: 2.3.
    phases = tuple(phase for phase in TWO if phase[0] != "regrow")
    assert equalised(ROWS["ours-small"], 0.1, {"ours": make_result(phases)}) == {"seed": 0, "era": 2}


def test_compute_that_was_not_recorded_is_refused(make_result: Callable[..., Any]) -> None:
    result = make_result(ONE, macs={"regrow": 100})
    with pytest.raises(UserError, match="'seed'"):
        cost(result, result["phases"][0], "compute")


def test_nothing_to_train_as_long_as(make_result: Callable[..., Any]) -> None:
    row = Row("x", "clean-then-era", "x", equal=Equal("time", "gearnn-1"))
    with pytest.raises(UserError, match="not of two phases"):
        equalised(row, 0.1, {"gearnn-1": make_result(ONE)})
