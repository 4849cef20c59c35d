"""Presets and the resolved configuration."""

from __future__ import annotations

import dataclasses
import json
import typing

import pytest

from gearnn import config
from gearnn.commands.parsing import parse
from gearnn.commands.run import RunArguments
from gearnn.config import Budget, GrowthConfig, RunConfig, check, differences, parsed, preset, resolved, to_dict
from gearnn.errors import UserError


def test_every_preset_names_itself() -> None:
    for name in typing.get_args(config.Preset):
        assert preset(name).preset == name
    with pytest.raises(UserError, match="no preset called 'fast'"):
        preset("fast")


def test_the_default_preset_is_what_the_class_says() -> None:
    assert preset("default") == RunConfig()


def test_paper_has_the_published_epochs() -> None:
    paper = preset("paper")
    assert (paper.epochs.seed, paper.growth.epochs, paper.epochs.regrow, paper.epochs.era) == (40, 1, 40, 40)
    assert (paper.augmentation.width, paper.augmentation.depth, paper.augmentation.views) == (1, 3, 4)


def test_resolving_fills_in_folder_and_the_papers_growth_ratio() -> None:
    for arch, ratio in (("mobilenet_v1", 1.8), ("vgg19", 0.9), ("resnet18", 0.6)):
        filled = resolved(RunConfig(arch=arch, seed=7))
        assert filled.budget == Budget(growth_ratio=ratio)
        assert str(filled.out) == f"runs/{arch}-gearnn-2-7"
    assert resolved(RunConfig(budget=Budget(params=10**6))).budget == Budget(params=10**6)
    demo = preset("demo")
    given = dataclasses.replace(demo, budget=dataclasses.replace(demo.budget, params=10**6))
    assert resolved(given).budget == Budget(params=10**6)


def test_limits_hold_together_and_replace_the_presets() -> None:
    given = Budget(params="1M", train_memory="512MiB", latency_ms=3.0, train_time="45m")
    expected = Budget(params=10**6, train_memory=2**29, latency_ms=3.0, train_time="45m")
    assert resolved(RunConfig(budget=given)).budget == expected
    assert resolved(RunConfig(preset="demo", budget=dataclasses.replace(given, growth_ratio=0.9))).budget == expected
    both = Budget(growth_ratio=0.5, size="4MB")
    assert resolved(RunConfig(preset="demo", budget=both)).budget == Budget(growth_ratio=0.5, size=4_000_000)
    assert resolved(resolved(RunConfig(budget=given))) == resolved(RunConfig(budget=given))


def test_training_time_alone_leaves_the_papers_growth_ratio() -> None:
    assert resolved(RunConfig(budget=Budget(train_time="1h"))).budget == Budget(growth_ratio=0.9, train_time="1h")


@pytest.mark.parametrize(
    ("budget", "message"),
    [
        (Budget(params="a few"), "--budget.params must be a count such as"),
        (Budget(macs="12Q"), "--budget.macs .* 1M"),
        (Budget(size="big"), "--budget.size .* 512MiB"),
        (Budget(train_memory=0), "--budget.train-memory .* 512MiB"),
        (Budget(latency_ms=-1.0), "--budget.latency-ms must be above 0"),
        (Budget(growth_ratio=float("nan")), "--budget.growth-ratio must be above 0"),
        (Budget(train_time="later"), "--budget.train-time .* 45m"),
    ],
)
def test_budgets_that_make_no_sense_are_named(budget: Budget, message: str) -> None:
    with pytest.raises(UserError, match=message):
        resolved(RunConfig(budget=budget))


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
