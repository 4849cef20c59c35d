"""A few test images as the network saw them in training and in the benchmark, for the report."""

from __future__ import annotations

from pathlib import Path
from typing import Optional

import numpy as np
import torch

from gearnn.augmentations import augmenter_from
from gearnn.config import RunConfig
from gearnn.data import Dataset
from gearnn.files import replacing
from gearnn.robustness import CORRUPTIONS, Predictor, corrupt
from gearnn.robustness.corruptions import SEVERITIES


def save_examples(
    path: Path, dataset: Dataset, config: RunConfig, predict: Optional[Predictor] = None, count: int = 6, severity: int = 3
) -> None:
    """Write uint8 arrays: clean (n, C, H, W), augmented (n, J - 1, C, H, W), corrupted (n, 15, C, H, W), labels (n,).

    And by_severity (15, 5, C, H, W): the first image under every corruption at every severity. With a network to ask, also the
    classes that it names: named_clean (n,), named_corrupted (n, 15).
    """
    indices = np.linspace(0, len(dataset.test.labels) - 1, num=min(count, len(dataset.test.labels))).astype(np.int64)
    clean = np.ascontiguousarray(dataset.test.images[indices])
    augmenter = augmenter_from(config.augmentation, max(2, config.augmentation.views))
    views = augmenter(torch.from_numpy(clean), indices=indices, seed=config.seed)[1:]
    augmented = (views.transpose(0, 1) * 255).round().to(torch.uint8).numpy()
    corrupted = [corrupt(clean, name, severity, seed=config.seed, indices=indices) for name in CORRUPTIONS]
    first, place = clean[:1], indices[:1]
    levels = [[corrupt(first, name, level, seed=config.seed, indices=place)[0] for level in SEVERITIES] for name in CORRUPTIONS]
    stacked, named = np.stack(corrupted, axis=1), {}
    if predict is not None:
        named["named_clean"] = np.asarray(predict(clean)).argmax(1)
        named["named_corrupted"] = np.stack([np.asarray(predict(images)).argmax(1) for images in corrupted], axis=1)
    with replacing(path) as temporary, temporary.open("wb") as stream:
        np.savez_compressed(
            stream,
            clean=clean,
            augmented=augmented,
            corrupted=stacked,
            by_severity=np.stack([np.stack(row) for row in levels]),
            labels=dataset.test.labels[indices],
            **named,
        )
