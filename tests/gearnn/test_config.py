"""Presets and the resolved configuration."""

from __future__ import annotations

import dataclasses
import json

import pytest

from gearnn.commands.parsing import parse
from gearnn.commands.run import RunArguments
from gearnn.config import Budget, GrowthConfig, RunConfig, check, differences, parsed, to_dict
from gearnn.errors import UserError
from gearnn.presets import resolved


def test_budgets_are_understood_on_the_command_line() -> None:
    options = (
        "--budget.params 1M --budget.train-memory 512MiB --budget.latency-ms 3.0 --budget.train-time 45m --budget.macs 5000000"
    )
    found = parse(RunArguments, options.split(), "run", RunArguments(RunConfig()))
    assert found.config.budget == Budget(
        params="1M", train_memory="512MiB", latency_ms=3.0, train_time="45m", macs=found.config.budget.macs
    )
    assert parsed(found.config.budget).macs == 5_000_000


def test_growth_in_steps_is_understood_on_the_command_line() -> None:
    def parsed_config(options: str) -> RunConfig:
        return parse(RunArguments, options.split(), "run", RunArguments(RunConfig())).config

    assert (RunConfig().grower, RunConfig().shots) == ("random", 1)
    auto = parsed_config("--shots auto --grower variance_transfer --growth.min-gain 1 --growth.newborn-lr 2")
    assert (auto.shots, auto.grower, auto.growth.min_gain, auto.growth.newborn_lr) == ("auto", "variance_transfer", 1, 2)
    assert parsed_config("--shots 3").shots == 3


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (RunConfig(shots=0), "--shots must be from 1 to 16, or auto, not 0"),
        (RunConfig(growth=GrowthConfig(newborn_lr=0)), "--growth.newborn-lr must be above 0"),
        (RunConfig(growth=GrowthConfig(held_out=0.6)), "--growth.held-out .* at most 0.5"),
        (RunConfig(growth=GrowthConfig(min_gain=float("nan"))), "--growth.min-gain must be 0 or more, not nan"),
    ],
)
def test_growth_settings_that_make_no_sense_are_named(settings: RunConfig, message: str) -> None:
    with pytest.raises(UserError, match=message):
        check(settings)


def test_differences_name_what_would_make_it_another_run() -> None:
    base = resolved(RunConfig())
    saved = json.loads(json.dumps(to_dict(base)))
    assert differences(saved, dataclasses.replace(base, resume=True, threads=4)) == []
    assert differences(saved, dataclasses.replace(base, seed=1, arch="resnet18")) == ["arch", "seed"]
