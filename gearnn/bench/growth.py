"""``gearnn bench growth``: the growers side by side, each on the same trained seed networks.

Every cell of the table (grower, seed) is a file, so that the bench goes on where it was stopped.
"""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gearnn.bench.growth_memory import Workload, peak_over_training
from gearnn.config import Budget, GrowthConfig, Optimizer
from gearnn.costs import mac_cost
from gearnn.data import Dataset
from gearnn.era import ERA
from gearnn.files import read_json, write_json
from gearnn.growth.graph import trace_channels
from gearnn.growth.growers import GROWERS, find_grower
from gearnn.growth.step import grow
from gearnn.materials import key_of
from gearnn.models import Normalize, count_parameters, create_model, scaled_widths, widths_of
from gearnn.network import read_tensors, write_tensors
from gearnn.progress import Progress, no_progress
from gearnn.training import Amp, Feed, accuracy, make_optimizer, momentum_of, normalised_batches, train_epoch

NOTES = {
    "grow_seconds": "the growth step: candidates, their training where there is any, scores, selection and surgery",
    "grow_peak_over_training": "peak of resident memory above what it was before, in the growth step, over "
    "that in three training steps of the seed network, each in a fresh process; seed 0",
    "loss_before, loss_after": "cross-entropy on the test images, in eval mode, before and right after growth",
    "accuracy": "on the test images after the same epochs of training, in torch",
    "seconds": "training after growth",
    "sd": "sample standard deviation over the seeds",
}
"""What the names in a row mean."""


@dataclass(frozen=True)
class Setting:
    """What all cells share.

    Attributes:
        seed_epochs: E1, of training before growth.
        epochs: E2, of training after it.
        flip: mirror training images at random.
    """

    arch: str = "vgg19"
    seed_width: float = 0.0625
    seed_epochs: int = 8
    epochs: int = 8
    budget: Budget = field(default_factory=lambda: Budget(growth_ratio=0.9))
    growth: GrowthConfig = field(default_factory=GrowthConfig)
    optimizer: Optimizer = field(default_factory=Optimizer)
    flip: bool = True


def bench_growth(
    dataset: Dataset,
    setting: Setting,
    folder: Path,
    *,
    growers: Sequence[str] = tuple(GROWERS),
    seeds: Sequence[int] = (0, 1, 2),
    device: torch.device,
    progress: Progress = no_progress,
) -> List[Dict[str, Any]]:
    """Grow every seed's network with every grower, train on, and measure; growers take turns within a seed.

    Args:
        folder: where cells are kept.

    Returns:
        A row per grower, whose names ``NOTES`` explains; ``cells`` holds what was measured for each seed.
    """
    cells = [(seed, name) for seed in seeds for name in growers]
    for done, (seed, name) in enumerate(cells):
        progress("growers", done, len(cells))
        path = _cell_path(folder, name, seed)
        if not path.exists():
            bench = _Bench(dataset, setting, folder, seed, device)
            write_json(path, bench.cell(name, memory=seed == seeds[0] and device.type == "cpu"))
    progress("growers", len(cells), len(cells))
    return [summary(name, [read_json(_cell_path(folder, name, seed)) for seed in seeds]) for name in growers]


def summary(name: str, cells: Sequence[Dict[str, Any]]) -> Dict[str, Any]:
    """Means and sample standard deviations over the seeds; None for a spread of one."""
    row: Dict[str, Any] = {"name": name, "keeps_function": find_grower(name).keeps_function, "n": len(cells)}
    for key in ("grow_seconds", "loss_before", "loss_after", "accuracy", "params", "macs", "seconds"):
        values = [cell[key] for cell in cells]
        row[key] = statistics.mean(values)
        row[f"{key}_sd"] = statistics.stdev(values) if len(values) > 1 else None
    peaks = [cell["grow_peak_over_training"] for cell in cells if cell["grow_peak_over_training"] is not None]
    return {**row, "grow_peak_over_training": peaks[0] if peaks else None, "cells": list(cells)}


def _cell_path(folder: Path, name: str, seed: int) -> Path:
    return folder / "cells" / f"{name}-{seed}.json"


@dataclass(frozen=True)
class _Bench:
    dataset: Dataset
    setting: Setting
    folder: Path
    seed: int
    device: torch.device

    def cell(self, grower: str, memory: bool) -> Dict[str, Any]:
        """Grow with one grower, train on, and measure."""
        model, momentum = self.seed_network()
        before = self.loss(model)
        start = time.perf_counter()
        growth = grow(
            model,
            self.feed("growth").batches,
            self.setting.budget,
            grower=grower,
            config=self.setting.growth,
            momentum=momentum,
            seed=self.seed,
        )
        seconds = time.perf_counter() - start
        after = self.loss(growth.model)
        grown = growth.model.to(device=self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        data = self.dataset
        example = torch.zeros(1, data.in_chans, data.image_size, data.image_size, device=self.device)
        grown_graph = trace_channels(grown, example)
        start = time.perf_counter()
        _, curve = self.train(grown, growth.momentum, "regrow", self.setting.epochs)
        trained = time.perf_counter() - start
        return {
            "name": grower,
            "seed": self.seed,
            "grow_seconds": seconds,
            "grow_peak_over_training": self.peak(grower) if memory else None,
            "loss_before": before,
            "loss_after": after,
            "accuracy": curve[-1],
            "curve": curve,
            "seconds": trained,
            "params": count_parameters(grown),
            "macs": mac_cost(grown, grown_graph)(grown_graph.widths()),
            "widths": list(widths_of(grown)),
            "decision": growth.decision.to_dict(),
        }

    def seed_network(self) -> Tuple[nn.Module, Dict[str, Tensor]]:
        """The trained seed network and its momentum: made once, then read."""
        data, setting = self.dataset, self.setting
        path = self.folder / "seeds" / f"{self.seed}.safetensors"
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            widths = scaled_widths(setting.arch, setting.seed_width, setting.growth.round_to)
            model = create_model(setting.arch, data.num_classes, widths, data.in_chans)
        model = model.to(device=self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        if not path.exists():
            momentum, _ = self.train(model, {}, "seed", setting.seed_epochs)
            tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
            tensors.update({f"momentum.{name}": tensor for name, tensor in momentum.items()})
            write_tensors(path, tensors, {})
        tensors, _ = read_tensors(path)
        model.load_state_dict({name[6:]: tensor for name, tensor in tensors.items() if name.startswith("model.")})
        return model, {name[9:]: tensor for name, tensor in tensors.items() if name.startswith("momentum.")}

    def train(
        self, model: nn.Module, momentum: Dict[str, Tensor], phase: str, epochs: int
    ) -> Tuple[Dict[str, Tensor], List[float]]:
        """Train for some epochs; the momentum, and the test accuracy after each."""
        feed, optimizer = self.feed(phase), make_optimizer(model, self.setting.optimizer, momentum)
        normalize, amp, curve = Normalize(self.dataset.mean, self.dataset.std).to(self.device), Amp(self.device, {}), []
        for epoch in range(epochs):
            train_epoch(model, optimizer, amp, feed, self.setting.optimizer, epoch, epochs, lambda done, total: None)
            curve.append(accuracy(model, self.dataset.test, normalize, self.device))
        return momentum_of(model, optimizer), curve

    def feed(self, phase: str) -> Feed:
        """Clean views of the training images: padded, cropped and flipped."""
        data = self.dataset
        pad = round(4 * data.image_size / 32)
        era = ERA(views=1, pad=pad, flip=self.setting.flip, mean=data.mean, std=data.std, memory_format=torch.channels_last)
        return Feed(data.train, era, self.setting.optimizer.images_per_step, key_of(self.seed, phase), self.device)

    @torch.no_grad()
    def loss(self, model: nn.Module) -> float:
        """Cross-entropy on the test images."""
        total, data = 0.0, self.dataset
        was_training = model.training
        model.eval()
        normalize = Normalize(data.mean, data.std).to(self.device)
        for images, labels in normalised_batches(data.test, normalize, self.device):
            total += F.cross_entropy(model(images), torch.from_numpy(labels).to(self.device), reduction="sum").item()
        model.train(was_training)
        return total / len(self.dataset.test)

    def peak(self, grower: str) -> Optional[float]:
        """Peak memory of the growth step over that of training the seed network."""
        data, setting = self.dataset, self.setting
        widths = scaled_widths(setting.arch, setting.seed_width, setting.growth.round_to)
        shape = (data.num_classes, data.in_chans, data.image_size, setting.optimizer.images_per_step)
        return peak_over_training(Workload(setting.arch, widths, *shape, setting.budget, setting.growth), grower)
