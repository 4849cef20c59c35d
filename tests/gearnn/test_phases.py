"""The methods as lists of phases."""

from __future__ import annotations

import dataclasses

import pytest

from gearnn.config import Augmentation, Epochs, RunConfig
from gearnn.errors import UserError
from gearnn.phases import phases_of


def test_gearnn_2_is_clean_until_era() -> None:
    phases = phases_of(RunConfig(epochs=Epochs(seed=3, regrow=4, era=5)))
    assert [(p.name, p.kind, p.epochs, p.views) for p in phases] == [
        ("seed", "train", 3, 1),
        ("growth", "grow", 1, 1),
        ("regrow", "train", 4, 1),
        ("era", "train", 5, 4),
    ]
    assert [p.keeps for p in phases] == ["seed", None, "grown", "robust"]


def test_gearnn_1_sees_augmented_views_throughout() -> None:
    phases = phases_of(RunConfig(method="gearnn-1"))
    assert [p.name for p in phases] == ["seed", "growth", "regrow"]
    assert all(p.views == 4 for p in phases)
    assert phases[-1].keeps == "robust"


def test_the_baseline_trains_as_long_as_the_run() -> None:
    baseline = phases_of(RunConfig(baseline=True, epochs=Epochs(seed=3, regrow=4, era=5)))[-1]
    assert (baseline.kind, baseline.epochs, baseline.views, baseline.keeps) == ("fresh", 13, 1, "baseline")


@pytest.mark.parametrize(
    ("change", "message"),
    [({"epochs": Epochs(seed=0)}, "at least 1 epoch"), ({"augmentation": Augmentation(views=1)}, "at least 2 views")],
)
def test_impossible_settings_are_errors(change: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        phases_of(dataclasses.replace(RunConfig(), **change))
