"""A run that ends on time: what its parts take here is measured before training, and phases are cut to what is left."""

from __future__ import annotations

import copy
import time
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Dict, List, Mapping, Sequence, Tuple

import numpy as np
import torch
from torch import nn

from gearnn.budget import Constraint
from gearnn.checkpoint import State
from gearnn.config import RunConfig
from gearnn.data import Dataset, Split
from gearnn.examples import save_examples
from gearnn.growth.graph import ChannelGraph
from gearnn.growth.growers import Entry, find_grower
from gearnn.materials import card_of, feed_of, initial_widths, key_of, limits_of, untrained
from gearnn.measure import deploy, judge, latencies, time_engine
from gearnn.models import Normalize, widths_of
from gearnn.network import Card, save_network
from gearnn.phases import Phase
from gearnn.progress import no_progress
from gearnn.quantities import parse_duration
from gearnn.timing_plan import MARGIN, Clock, Stretch, allotted, by_clock, check_time
from gearnn.training import Amp, Feed, Pace, accuracy, make_optimizer, train_epoch

SAMPLE = 256  # test images that the end of a run is rehearsed on
LOOKS = (0.5, 0.9)  # of the last phase, where that is done again
REPORT_SECONDS = 4.0  # for writing the report, which cannot be rehearsed
CLOSED_FORM_STEPS, FIREFLY_STEPS = 10.0, 5.0  # training steps of the seed network that growth takes per batch it looks at
UNSCORED_STEPS = 4.0  # that growth takes which looks at none: 0.3 s, where a step of 16 images of 64×64 takes 0.07 s


@dataclass(frozen=True)
class TimeBudget:
    """What keeps a run within ``--budget.train-time``; ``elapsed`` tells the seconds of the run so far."""

    config: RunConfig
    dataset: Dataset
    phases: Sequence[Phase]
    device: torch.device
    elapsed: Clock

    @property
    def limit(self) -> float:
        """Seconds that the whole run may take."""
        return parse_duration(str(self.config.budget.train_time), "--budget.train-time")

    def plan(self, state: State) -> None:
        """Measure what an epoch of each phase and the end of the run will take, once per run.

        Raises:
            UserError: if one epoch of every phase would not fit.
        """
        if state.progression.plan:
            return
        widths = widths_of(state.model)
        if any(phase.kind == "grow" for phase in self.phases):
            graph, limits = limits_of(self.config, self.dataset, state.model)
            widths = evenly_grown(widths, graph, limits, self.config.growth.round_to)
        card = card_of(self.config, self.dataset, widths)
        networks = (copy.deepcopy(state.model), untrained(card, key_of(self.config.seed, "stand-in")))
        stretches = self._stretches(networks)
        fixed, judged = self._end(networks, (state.card, card))
        plan = {"fixed": fixed, "judged": [judged]}
        check_time(self.limit, self.elapsed(), stretches, reserve_of(plan))
        plan["stretches"] = {stretch.name: [stretch.least, stretch.usual] for stretch in stretches}
        plan["prepared"] = self.elapsed()
        state.progression.plan = plan

    def pace(self, state: State) -> Pace:
        """The pace of the phase that is next or in progress.

        Before and within the last one, the judging of networks is rehearsed again, and its end moved accordingly: how busy the
        device is changes within minutes, and the mean of several looks tells more about the minutes to come than the first.
        """
        progression = state.progression
        last = progression.phase == len(self.phases) - 1
        if not progression.allotted:
            if last:
                self._look_again(state)
            following = self.phases[progression.phase :]
            stretches = [Stretch(phase.name, *progression.plan["stretches"][phase.name]) for phase in following]
            grows = following[0].kind == "grow"  # which takes what it takes
            seconds = stretches[0].usual if grows else allotted(self._left(state), stretches)
            progression.allotted = {"began": self.elapsed(), "seconds": seconds, "planned": seconds}
        looks = [moment for moment in LOOKS if last]
        began = progression.allotted["began"]

        def pace(step: int) -> float:
            while looks and self.elapsed() - began >= looks[0] * progression.allotted["seconds"]:
                looks.pop(0)
                self._look_again(state)
                progression.allotted["seconds"] = self.elapsed() - began + self._left(state)
            return by_clock(began, progression.allotted["seconds"], self.elapsed)(step)

        return pace

    def spent(self, state: State) -> Dict[str, float]:
        """Of the phase in progress: seconds that it was to take when it began, and those that it has taken, tests included."""
        found = state.progression.allotted
        if not found:
            return {}
        return {"planned_seconds": found.get("planned", found["seconds"]), "wall_seconds": self.elapsed() - found["began"]}

    def outcome(self, state: State, trained: float) -> Dict[str, Any]:
        """For the result: the plan, its limit, and what followed training, which ended ``trained`` seconds into the run."""
        plan = state.progression.plan
        end = {"planned_seconds": reserve_of(plan), "wall_seconds": self.elapsed() - trained}
        return {**plan, "limit": self.limit, "end": end}

    def _left(self, state: State) -> float:
        """Seconds for what training is still to come."""
        return self.limit - self.elapsed() - MARGIN * reserve_of(state.progression.plan)

    def _look_again(self, state: State) -> None:
        card = card_of(self.config, self.dataset, initial_widths(self.config, self.dataset))
        networks = (untrained(card, key_of(self.config.seed, "stand-in")), state.model)
        state.progression.plan["judged"].append(self._end(networks, (card, state.card), whole=False)[1])

    def _stretches(self, networks: Tuple[nn.Module, nn.Module]) -> List[Stretch]:
        """What each phase takes, from a few steps of the seed network and of one that has grown evenly to the budget."""
        steps: Dict[Tuple[int, int], float] = {}
        shots = max(phase.shot for phase in self.phases)
        found = []
        for phase in self.phases:
            feed = feed_of(self.config, self.dataset, phase, self.device)
            for which, network in enumerate(networks):
                if (which, phase.views) not in steps:
                    steps[which, phase.views] = step_seconds(network, feed, self.config)
            if phase.kind == "grow":
                seconds = steps[0, phase.views] * growth_steps(find_grower(self.config.grower), phase, feed, self.config)
                found.append(Stretch(phase.name, seconds, seconds))
                continue
            grown = 0.0 if phase.name == "seed" else phase.shot / shots if phase.shot else 1.0
            step = steps[0, phase.views] ** (1 - grown) * steps[1, phase.views] ** grown
            epoch = step * feed.steps() + self._test_seconds(networks[1])
            found.append(Stretch(phase.name, epoch, epoch * phase.epochs))
        return found

    def _test_seconds(self, network: nn.Module) -> float:
        """Of measuring the test accuracy, as after every epoch."""
        normalize = Normalize(self.dataset.mean, self.dataset.std).to(self.device)
        test = self.dataset.test
        chosen = np.arange(min(SAMPLE, len(test.labels)))
        start = time.perf_counter()
        accuracy(network, test, normalize, self.device, chosen=chosen)
        return (time.perf_counter() - start) * len(test.labels) / len(chosen)

    def _end(self, networks: Tuple[nn.Module, nn.Module], cards: Tuple[Card, Card], whole: bool = True) -> Tuple[float, float]:
        """What follows training, for the seed network and grown ones: seconds of judging them, from part of the test images, and
        before that of all else (0 if not the ``whole`` is rehearsed)."""
        kept = list(dict.fromkeys(phase.keeps for phase in self.phases if phase.keeps))
        threads, data = torch.get_num_threads(), self.dataset.test
        sample = Split(data.images[:SAMPLE], data.labels[:SAMPLE])
        images = np.ascontiguousarray(sample.images)
        with TemporaryDirectory() as name:
            folder, fixed = Path(name), REPORT_SECONDS
            for which, count in ((0, 1), (1, len(kept) - 1)):
                start = time.perf_counter()
                weights = folder / f"{which}.safetensors"
                save_network(weights, networks[which], cards[which])
                deploy(weights, folder / f"{which}.onnx", images, threads, check=False)
                latencies({"": folder / f"{which}.onnx"}, threads, 0)
                fixed += count * (time.perf_counter() - start)
            files = {name: folder / f"{int(name != 'seed')}.onnx" for name in kept}
            if whole:
                start = time.perf_counter()
                time_engine(files[kept[-1]], threads, 0)
                save_examples(folder / "examples.npz", self.dataset, self.config)  # imports included
                fixed += time.perf_counter() - start
            start = time.perf_counter()
            judge(files, sample, 0, threads, no_progress, (3,))
            judged = (
                (time.perf_counter() - start) * len(data.labels) / len(sample.labels) * 76 / 16
            )  # 15 × 5 and clean; 15 and clean
        return fixed, judged


def growth_steps(grower: Entry, phase: Phase, feed: Feed, config: RunConfig) -> float:
    """The training steps of the seed network that a growth step takes as long as."""
    if grower.passes:
        return FIREFLY_STEPS * (phase.epochs + 1) * feed.steps()
    return CLOSED_FORM_STEPS * config.growth.batches if grower.looks else UNSCORED_STEPS


def reserve_of(plan: Mapping[str, Any]) -> float:
    """Seconds that the end of a run is expected to take."""
    return float(plan["fixed"] + sum(plan["judged"]) / len(plan["judged"]))


def step_seconds(network: nn.Module, feed: Feed, config: RunConfig, at_least: float = 1.0) -> float:
    """Seconds of a training step, from one epoch or as much of it as ``at_least`` seconds and three steps take.

    A copy of the network is trained; no random state is touched.
    """
    model = copy.deepcopy(network).to(device=feed.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    settings = replace(config.optimizer, learning_rate=1e-6)  # what is learnt does not matter; a loss that runs away would
    optimizer, amp = make_optimizer(model, settings, {}), Amp(feed.device, {})

    def steps(pace: Pace) -> float:
        result = train_epoch(model, optimizer, amp, feed, settings, 0, 1, lambda done, total: None, pace=pace)
        return result.seconds * feed.batch_size / result.images

    steps(lambda step: float(step))  # one, to warm up
    start = time.perf_counter()
    return steps(lambda step: float(step >= 3 and time.perf_counter() - start > at_least))


def evenly_grown(
    widths: Sequence[int], graph: ChannelGraph, limits: Sequence[Constraint], round_to: int, most: float = 16.0
) -> Tuple[int, ...]:
    """All widths times the largest factor (up to ``most``) that the limits allow, in multiples of ``round_to``."""

    def fits(factor: float) -> bool:
        grown = {name: round(width * factor) for name, width in graph.widths().items()}
        return all(limit.cost(grown) <= limit.limit for limit in limits)

    low, high = 1.0, most
    for _ in range(20):
        middle = (low + high) / 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return tuple(max(round_to, round(width * low / round_to) * round_to) for width in widths)
