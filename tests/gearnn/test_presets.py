"""Presets and the resolved configuration."""

from __future__ import annotations

import dataclasses

import pytest

from gearnn.budget import check_reach
from gearnn.config import Budget, Optimizer, RunConfig, fitting_batch
from gearnn.data import load_data
from gearnn.errors import UserError
from gearnn.growth.growers import find_grower
from gearnn.materials import limits_of
from gearnn.models import create_model, scaled_widths
from gearnn.phases import Course, phases_of
from gearnn.presets import PRESETS, preset, resolved, smaller_batch_remark, with_batch_size


def test_every_preset_names_itself() -> None:
    for name in PRESETS:
        assert preset(name).preset == name
    with pytest.raises(UserError, match="no preset called 'fast'"):
        preset("fast")


def test_the_default_preset_grows_once_and_goes_on_to_one_augmented_view() -> None:
    phases = phases_of(preset("default"))
    assert [(phase.name, phase.views, phase.augmented) for phase in phases] == [
        ("seed", 1, False),
        ("growth", 1, False),
        ("era", 1, True),
    ]
    assert (phases[0].course, phases[-1].course) == (Course(falls=False), Course(warms_up=False))


def test_plain_is_what_the_class_says_and_the_published_recipe() -> None:
    plain, paper = preset("plain"), preset("paper")
    assert plain == RunConfig()
    assert (plain.augmentation, plain.growth, plain.init, plain.standardize) == (paper.augmentation, paper.growth, "he", False)
    assert dataclasses.replace(plain.optimizer, warmup_epochs=0.0) == paper.optimizer
    assert resolved(plain).budget == resolved(paper).budget


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


def test_what_is_compared_with_trains_as_long_as_published() -> None:
    def trained(name: str) -> list:
        return [(phase.kind, phase.epochs, phase.views) for phase in phases_of(preset(name))]

    assert trained("small-clean") == [("train", 160, 1)]
    assert trained("small-augmix") == trained("big") == [("train", 160, 3)]
    assert trained("small-era") == [("train", 160, 4)]
    assert trained("clean-then-era") == [("train", 80, 1), ("train", 40, 4)]
    assert trained("gearnn-1") == [("train", 40, 4), ("grow", 1, 4), ("train", 40, 4)]
    augmix = preset("small-augmix").augmentation
    assert (augmix.width, augmix.depth, augmix.views) == (3, None, 3)


def test_without_growth_nothing_limits_the_widths_unless_asked() -> None:
    assert resolved(preset("big")).budget == Budget()
    assert resolved(dataclasses.replace(preset("small-era"), budget=Budget(params="1M"))).budget == Budget(params=10**6)


@pytest.mark.parametrize("name", ["default", "quick", "plain", "paper", "gearnn-1"])
@pytest.mark.parametrize("arch", ["vgg19", "mobilenet_v1", "resnet18"])
def test_every_network_can_grow_as_presets_ask(name: str, arch: str) -> None:
    config = resolved(dataclasses.replace(preset(name), arch=arch, limit_train=256, limit_test=20))
    dataset = load_data(limit_train=256, limit_test=20)
    widths = scaled_widths(arch, config.seed_width, config.growth.round_to)
    graph, limits = limits_of(config, dataset, create_model(arch, dataset.num_classes, widths, dataset.in_chans))
    check_reach(graph, limits, find_grower(config.grower).offered(graph, config.growth), config.growth.round_to)
    assert limits[0].limit > 1.3 * sum(widths)


@pytest.mark.parametrize(
    ("name", "images", "size"),
    [
        ("quick", 50_000, 128),
        ("quick", 1024, 128),
        ("quick", 1023, 64),
        ("default", 512, 64),
        ("plain", 256, 32),
        ("quick", 201, 16),
        ("quick", 20, 16),
        ("demo", 1437, 64),
        ("demo", 511, 32),
    ],
)
def test_the_batch_size_leaves_eight_steps_an_epoch_or_is_the_smallest(name: str, images: int, size: int) -> None:
    chosen = with_batch_size(preset(name), images)
    assert chosen.optimizer.batch_size == size
    assert dataclasses.replace(chosen, optimizer=preset(name).optimizer) == preset(name)
    remark = smaller_batch_remark(chosen, images)
    if size in (64 if name == "demo" else 128,):
        assert remark is None
    else:
        assert remark is not None
        assert f"Batches of {size} images" in remark and f"only {images} " in remark
        assert "--optimizer.batch-size" in remark


def test_a_batch_size_that_was_named_stays() -> None:
    named = RunConfig(optimizer=Optimizer(batch_size=128))
    assert with_batch_size(named, 20) is named


def test_fitting_batches_are_powers_of_two_up_to_the_largest() -> None:
    sizes = [fitting_batch(images) for images in range(1, 3000)]
    assert sorted(set(sizes)) == [16, 32, 64, 128]
    assert sizes == sorted(sizes)
    assert all(images // size >= 8 for images, size in enumerate(sizes, 1) if images >= 128)
