"""What a run's parts take, measured before training."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from gearnn.config import Budget, GrowthConfig, RunConfig
from gearnn.data import Dataset
from gearnn.errors import UserError
from gearnn.growth.growers import GROWERS
from gearnn.growth.step import grow
from gearnn.materials import card_of, feed_of, limits_of, untrained
from gearnn.models import create_model, scaled_widths
from gearnn.phases import phases_of
from gearnn.progress import no_progress
from gearnn.timing import evenly_grown, growth_steps, reserve_of, step_seconds
from gearnn.trainer import Trainer

CPU = torch.device("cpu")


def test_steps_are_timed_on_a_copy(tiny_dataset: Dataset, tiny_config: RunConfig) -> None:
    model = untrained(card_of(tiny_config, tiny_dataset, scaled_widths("vgg19", 1 / 16)), 0)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    state, start = torch.random.get_rng_state(), time.perf_counter()
    seconds = step_seconds(model, feed_of(tiny_config, tiny_dataset, phases_of(tiny_config)[0], CPU), tiny_config)
    assert 0 < seconds < time.perf_counter() - start
    assert torch.equal(state, torch.random.get_rng_state())
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize("arch", ["vgg19", "mobilenet_v1", "resnet18"])
def test_a_network_grown_evenly_stays_within_the_budget(arch: str, tiny_dataset: Dataset, tiny_config: RunConfig) -> None:
    widths = scaled_widths(arch, 1 / 8)
    config = dataclasses.replace(tiny_config, arch=arch, budget=Budget(params="300k"))
    graph, limits = limits_of(config, tiny_dataset, untrained(card_of(config, tiny_dataset, widths), 0))
    grown = evenly_grown(widths, graph, limits, 8)
    parameters = sum(parameter.numel() for parameter in create_model(arch, 3, grown, 1).parameters())
    assert 0.8 * 300_000 < parameters < 1.2 * 300_000  # rounded to multiples of 8, so not exactly


def test_a_plan_is_made_once_and_a_time_too_short_refused(tiny_dataset: Dataset, tiny_config: RunConfig, tmp_path: Path) -> None:
    def prepared(train_time: str) -> Trainer:
        budget = dataclasses.replace(tiny_config.budget, train_time=train_time)
        config = dataclasses.replace(tiny_config, budget=budget)
        trainer = Trainer.start(config, tiny_dataset, phases_of(config), tmp_path, CPU, no_progress)
        trainer.prepare()
        return trainer

    with pytest.raises(UserError, match="--budget.train-time is too short .* 1s: give at least"):
        prepared("1s")
    assert list(tmp_path.iterdir()) == []
    trainer = prepared("10h")
    plan = trainer.state.progression.plan
    assert list(plan["stretches"]) == ["seed", "growth", "regrow", "era"]
    assert all(0 < least <= usual for least, usual in plan["stretches"].values())
    for name, epochs in (("seed", 2), ("regrow", 1), ("era", 2)):
        least, usual = plan["stretches"][name]
        assert usual == pytest.approx(epochs * least)
    assert reserve_of(plan) == plan["fixed"] + plan["judged"][0] > plan["fixed"] > 0
    trainer.prepare()
    assert trainer.state.progression.plan is plan


def test_growth_that_looks_at_no_batch_is_not_taken_for_one_that_does(tiny_dataset: Dataset, tiny_config: RunConfig) -> None:
    phases = phases_of(tiny_config)
    feed = feed_of(tiny_config, tiny_dataset, phases[1], CPU)
    steps = {name: growth_steps(entry, phases[1], feed, tiny_config) for name, entry in GROWERS.items()}
    assert steps["osg"] == steps["gradmax"] == 10 * tiny_config.growth.batches
    assert steps["firefly"] == 5 * 2 * 3  # 96 images in batches of 32, trained on and scored
    assert max(steps["random"], steps["variance_transfer"], steps["net2net"]) < steps["firefly"] / 5


@pytest.mark.parametrize("name", GROWERS)
def test_growers_look_at_batches_as_they_say(name: str, tiny_dataset: Dataset, tiny_config: RunConfig) -> None:
    feed = feed_of(tiny_config, tiny_dataset, phases_of(tiny_config)[1], CPU)
    model = untrained(card_of(tiny_config, tiny_dataset, scaled_widths("vgg19", 1 / 16)), 0)
    seen = []

    def batches(epoch: int) -> Any:
        for batch in feed.batches(epoch):
            seen.append(epoch)
            yield batch

    grow(model, batches, Budget(growth_ratio=0.25), grower=name, config=GrowthConfig(new_candidates=8, batches=2))
    assert (len(seen) > 1) == GROWERS[name].looks
