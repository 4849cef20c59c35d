"""Walks a run through its phases: trains, grows, keeps networks, and checkpoints after every epoch."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Dict, Iterator, List, Sequence, Tuple

import numpy as np
import torch
from torch import Tensor, nn

from gearnn.checkpoint import Progression, load_checkpoint, save_checkpoint
from gearnn.config import RunConfig
from gearnn.data import Dataset
from gearnn.era import era_from
from gearnn.errors import UserError
from gearnn.files import write_text
from gearnn.growth import grow
from gearnn.losses import consistency_loss
from gearnn.memory import peak_mb, reset_peak
from gearnn.models import Normalize, scaled_widths, widths_of
from gearnn.network import Card, save_network
from gearnn.phases import Phase
from gearnn.progress import Progress
from gearnn.training import Amp, Feed, accuracy, make_optimizer, momentum_of, train_epoch


@dataclass
class Trainer:
    """The state of a run between epochs; `Trainer.start` or `Trainer.resume` makes one, `work` finishes all phases."""

    config: RunConfig
    dataset: Dataset
    phases: List[Phase]
    folder: Path
    device: torch.device
    progress: Progress
    model: nn.Module
    momentum: Dict[str, Tensor]
    card: Card
    progression: Progression

    @staticmethod
    def start(
        config: RunConfig, dataset: Dataset, phases: List[Phase], folder: Path, device: torch.device, progress: Progress
    ) -> Trainer:
        """A new run: the seed network, untrained."""
        card = _card(config, dataset, scaled_widths(config.arch, config.seed_width, config.growth.round_to))
        model = _untrained(card, _key(config.seed, "model"))
        return Trainer(config, dataset, phases, folder, device, progress, model, {}, card, Progression())

    @staticmethod
    def resume(
        config: RunConfig, dataset: Dataset, phases: List[Phase], folder: Path, device: torch.device, progress: Progress
    ) -> Trainer:
        """The run in ``folder``, where its last checkpoint left it."""
        model, momentum, card, progression = load_checkpoint(checkpoint_path(folder))
        if _card(config, dataset, card.widths) != card:
            raise UserError(
                f"{dataset.name} is not what the run in {folder} was started on: give that with --data, or choose another --out"
            )
        trainer = Trainer(config, dataset, phases, folder, device, progress, model, momentum, card, progression)
        trainer._write_metrics()
        return trainer

    def work(self) -> None:
        """Finish the phases that are left."""
        while self.progression.phase < len(self.phases):
            phase = self.phases[self.progression.phase]
            if phase.kind == "fresh" and self.progression.epoch == 0:
                self.model, self.momentum = _untrained(self.card, _key(self.config.seed, phase.name)), {}
            self.model.to(device=self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
            if phase.kind == "grow":
                self._grow(phase)
            else:
                self._train(phase)
            self._finish(phase)

    def _train(self, phase: Phase) -> None:
        settings = self.config.optimizer
        feed, optimizer = self._feed(phase), make_optimizer(self.model, settings, self.momentum)
        normalize = Normalize(self.dataset.mean, self.dataset.std).to(self.device)
        amp = Amp(self.device, self.progression.scaler)
        total = phase.epochs * feed.steps()
        for epoch in range(self.progression.epoch, phase.epochs):
            done = epoch * feed.steps()
            reset_peak(self.device)
            result = train_epoch(
                self.model,
                optimizer,
                amp,
                feed,
                settings,
                epoch,
                phase.epochs,
                lambda step, _, done=done: self.progress(phase.name, done + step, total),  # type: ignore[misc]
            )
            self._spend(result.seconds, result.images)
            self.progression.metrics.append(
                {
                    "phase": phase.name,
                    "epoch": epoch + 1,
                    "epochs": phase.epochs,
                    "loss": result.loss,
                    "train_accuracy": result.accuracy,
                    "test_accuracy": accuracy(self.model, self.dataset.test, normalize, self.device),
                    "learning_rate": result.learning_rate,
                    "seconds": result.seconds,
                    "images_per_s": result.images / result.seconds,
                }
            )
            self.momentum = momentum_of(self.model, optimizer)
            self.progression.epoch = epoch + 1
            self.progression.scaler = amp.state()
            self._save()

    def _grow(self, phase: Phase) -> None:
        feed = self._feed(phase)
        passes = phase.epochs + 1  # the last one scores
        total, start = passes * feed.steps(), time.perf_counter()
        reset_peak(self.device)

        def batches(epoch: int) -> Iterator[Tuple[Tensor, Tensor]]:
            for step, batch in enumerate(feed.batches(epoch)):
                yield batch
                self.progress(phase.name, epoch * feed.steps() + step + 1, total)

        growth = grow(
            self.model,
            batches,
            self.config.budget,
            config=self.config.growth,
            objective=lambda logits, labels: consistency_loss(logits, labels, weight=self.config.optimizer.consistency),
            momentum=self.momentum,
            seed=_key(self.config.seed, phase.name) % 2**63,
        )
        self.model, self.momentum = growth.model, growth.momentum
        self.card = replace(self.card, widths=widths_of(self.model))
        self.progression.growth = {**growth.decision.to_dict(), "fixed": growth.fixed}
        self._spend(time.perf_counter() - start, total * feed.batch_size)

    def _finish(self, phase: Phase) -> None:
        """Keep the network if it is to be measured, write the phase's record, and move on."""
        if phase.keeps:
            save_network(network_path(self.folder, phase.keeps), self.model, self.card)
        spent = self.progression.spent
        record = {
            "name": phase.name,
            "kind": "grow" if phase.kind == "grow" else "train",
            "views": phase.views,
            "epochs": phase.epochs,
            "seconds": spent["seconds"],
            "images": spent["images"],
            "images_per_s": spent["images"] / spent["seconds"],
            "peak_memory_mb": spent.get("peak_memory_mb"),
        }
        self.progression.phases.append(record)
        self.progression.spent = {}
        self.progression.phase, self.progression.epoch = self.progression.phase + 1, 0
        self._save()

    def _spend(self, seconds: float, images: int) -> None:
        spent, peak = self.progression.spent, peak_mb(self.device)
        spent["seconds"] = spent.get("seconds", 0.0) + seconds
        spent["images"] = spent.get("images", 0) + images
        if peak is not None:
            spent["peak_memory_mb"] = max(spent.get("peak_memory_mb", 0.0), peak)

    def _feed(self, phase: Phase) -> Feed:
        settings = self.config.augmentation
        pad = round(settings.pad * self.dataset.image_size / 32)
        dataset = self.dataset
        output = {"mean": dataset.mean, "std": dataset.std, "memory_format": torch.channels_last}
        era = era_from(settings, phase.views, pad=pad, flip=settings.flip, **output)
        return Feed(dataset.train, era, self.config.optimizer.batch_size, _key(self.config.seed, phase.name), self.device)

    def _save(self) -> None:
        self._write_metrics()
        save_checkpoint(checkpoint_path(self.folder), self.model, self.momentum, self.card, self.progression)

    def _write_metrics(self) -> None:
        write_text(self.folder / "metrics.jsonl", "".join(json.dumps(row) + "\n" for row in self.progression.metrics))


def checkpoint_path(folder: Path) -> Path:
    """Where a run keeps its last checkpoint."""
    return folder / "checkpoint" / "last.safetensors"


def network_path(folder: Path, name: str) -> Path:
    """Where a run keeps one of its networks."""
    return folder / "networks" / f"{name}.safetensors"


def _card(config: RunConfig, dataset: Dataset, widths: Sequence[int]) -> Card:
    facts = (dataset.classes, dataset.mean, dataset.std, dataset.image_size, dataset.in_chans)
    return Card(config.arch, tuple(widths), *facts)


def _key(seed: int, name: str) -> int:
    """A 64-bit key for one purpose of a run."""
    words = [seed, *name.encode()]
    return int(np.random.SeedSequence(words).generate_state(1, np.uint64)[0])


def _untrained(card: Card, key: int) -> nn.Module:
    """A network whose weights depend on the key alone; torch's generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(key % 2**63)
        return card.build()
