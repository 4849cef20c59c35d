"""Growth in several steps: judging, stopping, adding up."""

from __future__ import annotations

import numpy as np
import pytest

from gearnn.config import Budget
from gearnn.errors import UserError
from gearnn.shots import gain_per_doubling, hold_out, merged, remaining


def test_a_part_of_every_class_is_held_out() -> None:
    labels = np.array([0] * 40 + [1] * 20 + [2] * 2 + [3], np.int64)
    fit, held = hold_out(labels, 0.1, key=3)
    assert sorted([*fit, *held]) == list(range(63))
    assert np.bincount(labels[held], minlength=4).tolist() == [4, 2, 1, 0]
    assert np.array_equal(hold_out(labels, 0.1, key=3)[1], held)
    assert not np.array_equal(hold_out(labels, 0.1, key=4)[1], held)


def test_nothing_to_hold_out_is_an_error() -> None:
    with pytest.raises(UserError, match="two training images of a class"):
        hold_out(np.arange(5), 0.1, key=0)


def _usage(name: str, before: float, after: float, limit: float) -> dict:
    return {"name": name, "unit": "", "before": before, "after": after, "limit": limit}


def test_gain_counts_by_doublings_of_the_fullest_budget() -> None:
    usage = [_usage("parameters", 100, 400, 400), _usage("MACs", 10, 20, 40)]
    assert gain_per_doubling(0.50, 0.53, usage) == pytest.approx(1.5)
    assert gain_per_doubling(0.53, 0.50, usage) == pytest.approx(-1.5)
    assert gain_per_doubling(0.5, 0.9, [_usage("MACs", 10, 10, 40)]) == -np.inf


def _step(before: int, after: int, cost: float) -> dict:
    layer = {"name": "conv", "before": before, "after": after, "split": 1, "new": after - before - 1, "score": -0.5}
    layer["cost"] = {"parameters": cost}
    return {"budget": [_usage("parameters", cost, 2 * cost, 400)], "bound_by": "parameters", "layers": [layer]}


def test_steps_add_up() -> None:
    first, second = _step(8, 16, 100.0), _step(16, 24, 200.0)
    assert merged([first]) == first
    both = merged([first, second])
    assert both["layers"] == [
        {"name": "conv", "before": 8, "after": 24, "split": 2, "new": 14, "score": -1.0, "cost": {"parameters": 300.0}}
    ]
    assert both["budget"] == [_usage("parameters", 100.0, 400.0, 400)]
    assert both["steps"] == [first, second]
    assert first == _step(8, 16, 100.0)


def test_a_step_that_was_taken_back_adds_nothing() -> None:
    first, second = {**_step(8, 16, 100.0), "pays": True}, {**_step(16, 24, 200.0), "pays": False}
    found = merged([first, second])
    assert found["layers"] == first["layers"] and found["budget"] == first["budget"] and found["bound_by"] == "gain"
    assert found["steps"] == [first, second]
    checked = {**first, "pays": False, "checks": [{"name": "latency"}], "output_difference": 0.5}
    alone = merged([checked])
    blank = {"name": "conv", "before": 8, "after": 8, "split": 0, "new": 0, "score": 0.0, "cost": {}}
    assert alone["layers"] == [blank] and alone["budget"] == [_usage("parameters", 100.0, 100.0, 400)]
    assert alone["checks"] == [] and alone["output_difference"] is None and alone["steps"] == [checked]


def test_a_growth_ratio_counts_from_the_seed_network() -> None:
    taken = [{"budget": [_usage("summed widths", 352, 440, 440)]}, {"budget": [_usage("summed widths", 440, 553, 560)]}]
    budget = Budget(growth_ratio=1.5, params=10**6)
    left = remaining(budget, taken)
    assert left.params == 10**6
    assert left.growth_ratio is not None
    assert int((1 + left.growth_ratio) * 553) == 880
    assert remaining(budget, []) == budget
    assert remaining(Budget(params=5), taken) == Budget(params=5)
