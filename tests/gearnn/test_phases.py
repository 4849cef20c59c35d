"""The methods as lists of phases."""

from __future__ import annotations

import dataclasses

import pytest

from gearnn.config import Augmentation, Epochs, Optimizer, RunConfig
from gearnn.errors import UserError
from gearnn.phases import WHOLE, outline, phases_of
from gearnn.presets import preset


def test_gearnn_2_is_clean_until_era() -> None:
    phases = phases_of(RunConfig(epochs=Epochs(seed=3, regrow=4, era=5)))
    assert [(p.name, p.kind, p.epochs, p.views) for p in phases] == [
        ("seed", "train", 3, 1),
        ("growth", "grow", 1, 1),
        ("regrow", "train", 4, 1),
        ("era", "train", 5, 4),
    ]
    assert [p.keeps for p in phases] == ["seed", None, "grown", "robust"]


def test_a_network_that_has_grown_once_may_go_on_to_robust_training_at_once() -> None:
    at_once = Epochs(seed=3, regrow=0, era=5)
    assert [(p.name, p.keeps) for p in phases_of(RunConfig(epochs=at_once))] == [
        ("seed", "seed"),
        ("growth", None),
        ("era", "robust"),
    ]
    for change in ({"shots": 2}, {"shots": "auto"}, {"method": "gearnn-1"}):
        with pytest.raises(UserError, match="--epochs.regrow"):
            phases_of(RunConfig(epochs=at_once, **change))


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


def test_each_shot_is_followed_by_training_and_goes_its_share_of_the_way() -> None:
    phases = phases_of(RunConfig(shots=3))
    assert [p.name for p in phases] == ["seed", "growth-1", "regrow-1", "growth-2", "regrow-2", "growth-3", "regrow-3", "era"]
    assert [p.shot for p in phases] == [0, 1, 1, 2, 2, 3, 3, 0]
    cost = 8.0
    for phase in phases:
        if phase.kind == "grow":
            cost *= (64 / cost) ** phase.fraction
    assert cost == pytest.approx(64)
    assert 8 * 8 ** phases[1].fraction == pytest.approx(16)
    assert {p.keeps for p in phases if p.shot and p.kind == "train"} == {"grown"}
    assert not any(p.judged for p in phases)


def test_growth_that_may_stop_is_judged_until_it_ends() -> None:
    phases = phases_of(RunConfig(shots="auto", baseline=True))
    assert all(phase.judged == (phase.name not in ("era", "baseline")) for phase in phases)
    assert max(phase.shot for phase in phases) == 4
    robust = phases_of(RunConfig(shots="auto", method="gearnn-1"))
    assert {p.keeps for p in robust if p.shot and p.kind == "train"} == {"robust"}


def test_without_growth_there_are_clean_images_and_then_era() -> None:
    def phases(seed: int, era: int) -> list:
        return [(p.name, p.kind, p.epochs, p.views, p.keeps) for p in phases_of(config(seed, era))]

    def config(seed: int, era: int) -> RunConfig:
        return RunConfig(method="fixed", epochs=Epochs(seed=seed, era=era))

    clean, robust = ("clean", "train", 3, 1, "clean"), ("era", "train", 5, 4, "robust")
    assert phases(3, 5) == [clean, robust]
    assert phases(3, 0) == [clean]
    assert phases(0, 5) == [robust]
    assert phases_of(dataclasses.replace(config(3, 5), baseline=True))[-1].epochs == 8
    with pytest.raises(UserError, match="at least 1 epoch"):
        phases(0, 0)


def test_a_rate_that_is_held_warms_up_once_and_falls_once() -> None:
    held = RunConfig(shots=2, baseline=True, optimizer=Optimizer(schedule="hold"))
    courses = {p.name: (p.course.warms_up, p.course.falls) for p in phases_of(held) if p.kind != "grow"}
    between = (False, False)
    assert courses == {
        "seed": (True, False),
        "regrow-1": between,
        "regrow-2": between,
        "era": (False, True),
        "baseline": (True, True),
    }
    assert all(p.course == WHOLE for p in phases_of(RunConfig(shots=2)))


def test_without_the_clean_view_one_view_will_do() -> None:
    alone = Augmentation(views=1, clean_view=False)
    phases = phases_of(RunConfig(augmentation=alone))
    assert [(p.views, p.augmented) for p in phases] == [(1, False), (1, False), (1, False), (1, True)]
    with pytest.raises(UserError, match="at least 2 views"):
        phases_of(RunConfig(augmentation=Augmentation(views=0, clean_view=False)))


def test_the_outline_names_epochs_unless_the_clock_decides() -> None:
    phases = phases_of(preset("quick"))
    assert outline(phases) == "seed (5 epochs), growth, era (80 epochs on augmented images)"
    assert outline(phases, by_the_clock=True) == "seed, growth, era"
