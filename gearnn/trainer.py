"""Walks a run through its phases: trains, grows, keeps networks, and checkpoints after every epoch."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Callable, Iterator, List, Optional, Tuple

import numpy as np
import torch
from torch import Tensor

from gearnn.accumulation import MicroBatches, halved_remark
from gearnn.checkpoint import State, load_state, network_path, save_state
from gearnn.config import RunConfig
from gearnn.data import Dataset
from gearnn.disk import check_still_there, patiently, size_of
from gearnn.distributed import ALONE, Team
from gearnn.errors import DivergedError, UserError
from gearnn.files import write_text
from gearnn.growth.growers import find_grower
from gearnn.growth.step import grow
from gearnn.losses import consistency_loss
from gearnn.materials import check_data, feed_of, key_of, untrained, work_of
from gearnn.metering import metering
from gearnn.models import Normalize, widths_of
from gearnn.network import load_network, save_network
from gearnn.phases import Phase
from gearnn.progress import Progress, Say, say_nothing
from gearnn.quantities import parse_bytes
from gearnn.records import epoch_row, phase_line, phase_record
from gearnn.recovery import check_epoch, gone_back, rate_factor, untrained_state
from gearnn.shots import gain_per_doubling, hold_out, merged, remaining
from gearnn.timing import TimeBudget
from gearnn.timing_plan import Clock, stopwatch
from gearnn.training import Amp, Feed, Newborn, Pace, accuracy, by_steps, make_optimizer, momentum_of, train_epoch


@dataclass
class Trainer:
    """A run between epochs; `Trainer.start` or `Trainer.resume` makes one, `work` finishes all phases.

    ``elapsed`` tells the seconds of the run so far, those of earlier sessions included; ``saved``: the folder has a checkpoint;
    ``team``: the processes that share the work, of which the first writes.
    """

    config: RunConfig
    dataset: Dataset
    phases: List[Phase]
    folder: Path
    device: torch.device
    progress: Progress
    state: State
    elapsed: Clock
    saved: bool = False
    team: Team = ALONE
    say: Say = say_nothing

    @staticmethod
    def start(
        config: RunConfig,
        dataset: Dataset,
        phases: List[Phase],
        folder: Path,
        device: torch.device,
        progress: Progress,
        clock: Optional[Clock] = None,
        team: Team = ALONE,
    ) -> Trainer:
        """A new run: the seed network, untrained; ``clock`` tells the seconds since it was asked for."""
        state = team.state(lambda: untrained_state(config, dataset))
        check_data(config, dataset, folder, state.card)
        return Trainer(config, dataset, phases, folder, device, progress, state, clock or stopwatch(), team=team)

    @staticmethod
    def resume(
        config: RunConfig,
        dataset: Dataset,
        phases: List[Phase],
        folder: Path,
        device: torch.device,
        progress: Progress,
        clock: Optional[Clock] = None,
        team: Team = ALONE,
    ) -> Trainer:
        """The run in ``folder``, where its last checkpoint left it."""
        state = team.state(lambda: load_state(folder))
        check_data(config, dataset, folder, state.card)
        earlier, session = state.progression.elapsed, clock or stopwatch()
        trainer = Trainer(config, dataset, phases, folder, device, progress, state, lambda: earlier + session(), True, team)
        trainer._write(trainer._write_metrics)
        return trainer

    def prepare(self) -> None:
        """With a time budget, find out what the run will take; else nothing.

        Raises:
            UserError: if the time is too short.
        """
        if self.time_budget is not None:
            self.time_budget.plan(self.state)

    def work(self) -> None:
        """Finish the phases that are left; where training runs away, go back to the last good epoch."""
        self.prepare()
        while self.state.progression.phase < len(self.phases):
            state, progression = self.state, self.state.progression
            phase = self.phases[progression.phase]
            if phase.kind == "fresh":  # as many epochs as the phases took that were worked through
                phase = replace(phase, epochs=max(1, round(sum(record["epochs"] for record in progression.phases))))
                if progression.epoch == 0:
                    state.model = untrained(state.card, key_of(self.config.seed, phase.name), self.config.init)
                    state.momentum = {}
            state.model.to(device=self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
            if phase.kind == "grow":
                self._grow(phase)
                self.state = self.team.state(lambda: self.state)
            else:
                try:
                    self._train(phase)
                except DivergedError as error:
                    self._go_back(error, phase)
                    continue
            self._finish(phase)

    def _go_back(self, error: DivergedError, phase: Phase) -> None:
        self.state = self.team.state(lambda: gone_back(self.folder, error, phase.name, self.config, self.dataset))
        self._save()

    def _train(self, phase: Phase) -> None:
        state, progression, settings = self.state, self.state.progression, self.config.optimizer
        feed, optimizer = (
            replace(self._feed(phase), team=self.team, sync_batchnorm=self.config.sync_batchnorm),
            make_optimizer(state.model, settings, state.momentum, self.team),
        )
        normalize = Normalize(self.dataset.mean, self.dataset.std).to(self.device)
        amp, pace, newborn = Amp(self.device, progression.scaler), self._pace(phase, feed), self._newborn(feed)
        total = max(1, round(progression.allotted["seconds"])) if self.time_budget else phase.epochs * feed.steps()
        limit = None if self.config.memory_limit is None else parse_bytes(self.config.memory_limit, "--memory-limit")
        micro_batches = MicroBatches(progression.micro_batch, limit, self._halved)

        def shown(steps: int) -> Tuple[int, int]:
            """Steps of the phase, or seconds of it."""
            return (min(int(pace(steps) * total), total), total) if self.time_budget else (steps, total)

        while progression.epoch == 0 or pace(progression.epoch * feed.steps()) < 1:
            first = progression.epoch * feed.steps()
            with metering(progression.spent, self.device):
                result = train_epoch(
                    state.model,
                    optimizer,
                    amp,
                    feed,
                    settings,
                    progression.epoch,
                    phase.epochs,
                    lambda step, _, first=first: self.progress(phase.name, *shown(first + step)),  # type: ignore[misc]
                    pace=pace,
                    newborn=newborn,
                    course=phase.course,
                    scale=rate_factor(progression.rollbacks),
                    micro_batches=micro_batches,
                )
            check_epoch(result.loss, state, phase.name, self.dataset.num_classes)
            self._spend(result.seconds, result.images)
            tested = accuracy(state.model, self.dataset.test, normalize, self.device, team=self.team)
            epochs = None if self.time_budget else phase.epochs
            progression.metrics.append(epoch_row(phase.name, progression.epoch + 1, epochs, result, tested))
            state.momentum = momentum_of(state.model, optimizer)
            progression.epoch += 1
            progression.scaler = amp.state()
            self._save()

    @property
    def time_budget(self) -> Optional[TimeBudget]:
        """What decides the phases' lengths instead of their epochs, if a time was given."""
        if self.config.budget.train_time is None:
            return None
        return TimeBudget(self.config, self.dataset, self.phases, self.device, self.elapsed)

    def _pace(self, phase: Phase, feed: Feed) -> Pace:
        if self.time_budget is None:
            return by_steps(phase.epochs * feed.steps())
        return self.time_budget.pace(self.state)

    def _newborn(self, feed: Feed) -> Optional[Newborn]:
        settings, masks = self.config.growth, self.state.newborn
        return Newborn(masks, settings.newborn_lr, round(settings.newborn_epochs * feed.steps())) if masks else None

    def _grow(self, phase: Phase) -> None:
        state, progression, settings = self.state, self.state.progression, self.config.growth
        feed, seen, start = self._feed(phase), 0, time.perf_counter()
        self._pace(phase, feed)  # with a time budget, notes what growth is to take
        # What goes through all of the data does so once more to score; other growers look at a few batches a few times.
        total = (phase.epochs + 1) * feed.steps() if find_grower(self.config.grower).passes else 3 * settings.batches

        def batches(epoch: int) -> Iterator[Tuple[Tensor, Tensor]]:
            nonlocal seen
            for batch in feed.batches(epoch):
                seen += 1
                self.progress(phase.name, min(seen, total - 1), total)
                yield batch

        try:
            with metering(progression.spent, self.device):
                growth = grow(
                    state.model,
                    batches,
                    remaining(self.config.budget, progression.steps),
                    work=work_of(self.config, self.dataset, self.device),
                    grower=self.config.grower,
                    config=settings,
                    objective=lambda logits, labels: consistency_loss(logits, labels, weight=self.config.optimizer.consistency),
                    momentum=state.momentum,
                    limit_fraction=phase.fraction,
                    seed=key_of(self.config.seed, phase.name) % 2**63,
                )
        except UserError as error:
            if phase.shot <= 1:
                raise
            progression.steps[-1]["ended"] = str(error)  # rounding has left the budget too little for another step
            self._end_growth()
        else:
            state.model, state.momentum = growth.model, growth.momentum
            state.newborn = growth.newborn if settings.newborn_lr != 1 else {}
            state.card = replace(state.card, widths=widths_of(state.model))
            progression.steps.append({"grower": self.config.grower, **growth.to_dict()})
            progression.remarks.extend(growth.remarks)
        progression.growth = merged(progression.steps)
        self.progress(phase.name, total, total)
        self._spend(time.perf_counter() - start, seen * feed.batch_size)

    def _judge(self, phase: Phase) -> None:
        """Measure on held-out training images what a growth step gained; one that did not pay is taken back, and growth ends."""
        state, progression = self.state, self.state.progression
        normalize = Normalize(self.dataset.mean, self.dataset.std).to(self.device)
        measured = accuracy(state.model, self.dataset.train, normalize, self.device, chosen=self._held_out()[1])
        if phase.shot:
            step, before = progression.steps[-1], progression.held_out[-1]
            gain = gain_per_doubling(before, measured, step["budget"])
            pays = gain >= self.config.growth.min_gain
            step.update(held_out_before=before, held_out_after=measured, gain_per_doubling=gain, pays=pays)
            progression.growth = merged(progression.steps)
            if not pays:
                last = "seed" if phase.shot == 1 else str(phase.keeps)
                model, state.card = load_network(network_path(self.folder, last))
                state.model, state.momentum = model.train(), {}
                self._end_growth()
        progression.held_out.append(measured)

    def _end_growth(self) -> None:
        """Leave out the growth steps that are left; the phase in progress is still to be finished."""
        progression = self.state.progression
        following = (i for i, phase in enumerate(self.phases) if i > progression.phase and not phase.shot)
        progression.phase = next(following, len(self.phases)) - 1

    def _finish(self, phase: Phase) -> None:
        """Keep the network if it is to be measured, write the phase's record, and move on."""
        state, progression = self.state, self.state.progression
        if phase.kind != "grow":
            state.newborn = {}
            if phase.judged:
                self._judge(phase)
        if phase.keeps:
            path = network_path(self.folder, phase.keeps)
            self._write(lambda: save_network(path, state.model, state.card))
        whole = self._feed(phase).steps() * self.config.optimizer.images_per_step
        cut = phase.kind != "grow" and bool(self.time_budget)
        self.say(phase_line(phase, progression.metrics, len(self.dataset.test), state.model))
        record = phase_record(phase, round(progression.spent["images"] / whole, 2) if cut else phase.epochs, progression.spent)
        progression.phases.append({**record, **(self.time_budget.spent(state) if self.time_budget else {})})
        progression.spent, progression.allotted = {}, {}
        progression.phase, progression.epoch = progression.phase + 1, 0
        self._save()

    def _spend(self, seconds: float, images: int) -> None:
        spent = self.state.progression.spent
        spent["seconds"] = spent.get("seconds", 0.0) + seconds
        spent["images"] = spent.get("images", 0) + images

    def _feed(self, phase: Phase) -> Feed:
        return feed_of(self.config, self.dataset, phase, self.device, self._held_out()[0] if phase.judged else None)

    def _held_out(self) -> Tuple[np.ndarray, np.ndarray]:
        return hold_out(self.dataset.train.labels, self.config.growth.held_out, key_of(self.config.seed, "held-out"))

    def _halved(self, size: int) -> None:
        progression = self.state.progression
        progression.micro_batch = size
        phase, batch_size = self.phases[progression.phase].name, self.config.optimizer.images_per_step
        progression.remarks.append(halved_remark(phase, progression.epoch, size, batch_size))

    def _write(self, write: Callable[[], None]) -> None:
        if not self.team.leads:
            return
        if self.saved:
            check_still_there(self.folder)
        patiently(write, self.folder, self.progress, needed=size_of(self.state))

    def _save(self) -> None:
        self.state.progression.elapsed = self.elapsed()
        self._write(self._write_metrics)
        self._write(lambda: save_state(self.folder, self.state))
        self.saved = True

    def _write_metrics(self) -> None:
        rows = self.state.progression.metrics
        write_text(self.folder / "metrics.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
