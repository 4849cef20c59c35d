"""Configurations by name: what a run starts from, and what it is to be compared with."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Optional

from gearnn.config import (
    LARGEST_BATCH,
    Augmentation,
    Budget,
    Epochs,
    Optimizer,
    RunConfig,
    fitting_batch,
    limits_widths,
    parsed,
    with_default,
)
from gearnn.errors import UserError

_AUGMIX = Augmentation(width=3, depth=None, views=3)  # Hendrycks et al., ICLR 2020: three chains of one to three operations
# What the trials and the table in docs/evidence.md came to.
_OURS = RunConfig(
    preset="default",
    grower="variance_transfer",
    init="identity",
    standardize=True,
    epochs=Epochs(seed=14, regrow=0, era=107),
    augmentation=Augmentation(views=1, clean_view=False),
    optimizer=Optimizer(kind="muon", relative_rate=0.02, schedule="hold"),
)

PRESETS = {
    config.preset: config
    for config in (
        RunConfig(),
        _OURS,
        dataclasses.replace(_OURS, preset="quick", seed_width=0.0625, limit_test=2000, epochs=Epochs(seed=5, regrow=0, era=80)),
        dataclasses.replace(
            _OURS,
            preset="demo",
            arch="mobilenet_v1",
            seed_width=0.125,
            baseline=True,
            epochs=Epochs(seed=8, regrow=0, era=24),
            budget=Budget(growth_ratio=0.9),
            augmentation=dataclasses.replace(_OURS.augmentation, pad=1, flip=False),
        ),
        # The published recipe and what it was or should have been held against (GEARnn, arXiv 2410.07691, and its reviews).
        RunConfig(preset="paper", epochs=Epochs(seed=40, regrow=40, era=40), optimizer=Optimizer(warmup_epochs=0.0)),
        RunConfig(
            preset="gearnn-1", method="gearnn-1", epochs=Epochs(seed=40, regrow=40), optimizer=Optimizer(warmup_epochs=0.0)
        ),
        RunConfig(preset="small-clean", method="fixed", epochs=Epochs(seed=160, era=0)),
        RunConfig(preset="small-augmix", method="fixed", epochs=Epochs(seed=0, era=160), augmentation=_AUGMIX),
        RunConfig(preset="small-era", method="fixed", epochs=Epochs(seed=0, era=160)),
        RunConfig(preset="clean-then-era", method="fixed", epochs=Epochs(seed=80, era=40)),
        RunConfig(preset="clean-then-augmix", method="fixed", epochs=Epochs(seed=80, era=40), augmentation=_AUGMIX),
        RunConfig(preset="big", method="fixed", seed_width=1.0, epochs=Epochs(seed=0, era=160), augmentation=_AUGMIX),
    )
}


_LARGEST_BATCHES = {"demo": 64}
"""Of presets that do not take `LARGEST_BATCH` images per step where there are enough."""


def preset(name: str) -> RunConfig:
    """The configuration a preset stands for.

    ``default`` is the recipe that did best and is for a device that has hours; ``quick`` is the same in short, for a first
    result, and ``demo`` for the embedded digits; ``plain`` is what `RunConfig()` says, the published recipe in shorter phases
    with a warm-up; ``paper`` is the published GEARnn-2 (E1 = E2 = Er = 40 on CIFAR-10) and ``gearnn-1`` its one-phase form. The
    others train a network of the final size without growth: ``small-clean``, ``small-augmix`` and ``small-era`` for 160 epochs,
    as published for the first two; ``clean-then-era`` and ``clean-then-augmix`` as long as GEARnn-2; ``big`` is the full-size
    network with AugMix.

    Raises:
        UserError: for an unknown name.
    """
    if name not in PRESETS:
        raise UserError(f"there is no preset called {name!r}: choose one of {', '.join(PRESETS)}")
    return PRESETS[name]


def resolved(config: RunConfig) -> RunConfig:
    """The configuration with everything that was left open filled in: the data, the run folder and the budget."""
    data = config.data or (Path(os.environ["GEARNN_DATA"]) if os.environ.get("GEARNN_DATA") else None)
    out = config.out or Path("runs") / f"{config.arch}-{config.method}-{config.seed}"
    budget = parsed(config.budget)
    if budget.growth_ratio == preset(config.preset).budget.growth_ratio and limits_widths(budget, without=("growth_ratio",)):
        budget = dataclasses.replace(budget, growth_ratio=None)  # an option that was given takes the place of the preset's budget
    if config.method != "fixed":
        budget = with_default(budget, config.arch)
    return dataclasses.replace(config, data=data.absolute() if data else None, out=out, budget=budget)


def with_batch_size(config: RunConfig, images: int) -> RunConfig:
    """The configuration with a batch size for so many training images, where none was named."""
    if config.optimizer.batch_size is not None:
        return config
    size = fitting_batch(images, _LARGEST_BATCHES.get(config.preset, LARGEST_BATCH))
    return dataclasses.replace(config, optimizer=dataclasses.replace(config.optimizer, batch_size=size))


def smaller_batch_remark(config: RunConfig, images: int) -> Optional[str]:
    """What a person should know of a batch size that `with_batch_size` chose: that it is smaller than usual, and why."""
    usual, size = _LARGEST_BATCHES.get(config.preset, LARGEST_BATCH), config.optimizer.images_per_step
    if size >= usual:
        return None
    steps = f"{images // size} steps" if images >= 2 * size else "1 step"
    return (
        f"Batches of {size} images instead of {usual}, since there are only {images} to train on ({steps} an epoch): "
        "--optimizer.batch-size sets another size."
    )
