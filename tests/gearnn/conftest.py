"""Tiny data and settings on which a whole run takes seconds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from gearnn.config import Augmentation, Budget, Epochs, GrowthConfig, Optimizer, RunConfig
from gearnn.data import Dataset, Split
from gearnn.pipeline import run


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run on the tiny data; not to be changed."""
    folder = tmp_path_factory.mktemp("tiny")
    data = _gratings()
    np.savez(folder / "gratings.npz", x=data.train.images, y=data.train.labels, x_test=data.test.images, y_test=data.test.labels)
    config = RunConfig(
        data=folder / "gratings.npz",
        out=folder / "run",
        seed_width=1 / 16,
        threads=1,
        device="cpu",
        epochs=Epochs(seed=6, regrow=2, era=6),
        budget=Budget(growth_ratio=0.5),
        augmentation=Augmentation(views=3, pad=1, flip=False),
        optimizer=Optimizer(batch_size=32),
    )
    run(config)
    return folder / "run"


@pytest.fixture()
def tiny_dataset() -> Dataset:
    """Three kinds of grey gratings with noise, 16×16: 96 for training, 30 for testing; learnable in a few epochs."""
    return _gratings()


def _gratings() -> Dataset:
    generator = np.random.default_rng(0)

    def split(count: int) -> Split:
        labels = np.arange(count, dtype=np.int64) % 3
        y, x = np.mgrid[0:16, 0:16]
        waves = np.stack([np.sin(x * 0.9), np.sin(y * 0.9), np.sin((x + y) * 0.7)])[labels]
        noisy = 128 + 80 * waves + generator.normal(0, 20, waves.shape)
        return Split(np.clip(noisy, 0, 255).astype(np.uint8)[:, None], labels)

    return Dataset("gratings", "made by a test", ("wide", "tall", "slanted"), split(96), split(30), (0.5,), (0.25,), ())


@pytest.fixture()
def tiny_config(tmp_path: Path) -> RunConfig:
    """A 1/16-width VGG-19, one or two epochs per phase."""
    return RunConfig(
        out=tmp_path / "run",
        seed_width=1 / 16,
        threads=1,
        device="cpu",
        epochs=Epochs(seed=2, regrow=1, era=2),
        grower="osg",
        budget=Budget(growth_ratio=0.5),
        growth=GrowthConfig(new_candidates=8),
        augmentation=Augmentation(views=3, pad=2, flip=False),
        optimizer=Optimizer(batch_size=32, learning_rate=0.05),
    )
