"""Presets and the resolved configuration."""

from __future__ import annotations

import dataclasses
import json
import typing

import pytest

from gearnn import config
from gearnn.config import Budget, RunConfig, differences, preset, resolved, to_dict
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


def test_differences_name_what_would_make_it_another_run() -> None:
    base = resolved(RunConfig())
    saved = json.loads(json.dumps(to_dict(base)))
    assert differences(saved, dataclasses.replace(base, resume=True, threads=4)) == []
    assert differences(saved, dataclasses.replace(base, seed=1, arch="resnet18")) == ["arch", "seed"]
