"""The training loop: one epoch at a time, everything random keyed by (seed, phase, epoch)."""

from __future__ import annotations

import math
import time
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, Callable, ContextManager, Dict, Iterator, Mapping, Optional, Tuple

import numpy as np
import torch
from torch import Tensor, nn

from gearnn.accumulation import MicroBatches
from gearnn.augmenter import Augmenter
from gearnn.config import Optimizer
from gearnn.data import Split
from gearnn.distributed import ALONE, Team, whole_batches
from gearnn.errors import DivergedError
from gearnn.muon import Muon
from gearnn.phases import WHOLE, Course


@dataclass(frozen=True)
class Feed:
    """Augmented batches of a training set, on a device.

    Attributes:
        split: uint8 images (N, C, H, W) and labels (N,).
        augmenter: yields the normalised views of a batch.
        key: what makes the draws of a phase differ from another's; with the epoch it decides order and augmentation.
        chosen: int64 indices of the images to use; all of them if None.
        first: of the augmenter's views that is used: 1 leaves out the clean one.
        team: of processes that share each batch: this one gets its part only.
        sync_batchnorm: BatchNorm layers see the whole batch nevertheless.
    """

    split: Split
    augmenter: Augmenter
    batch_size: int
    key: int
    device: torch.device
    chosen: Optional[np.ndarray] = None
    first: int = 0
    team: Team = ALONE
    sync_batchnorm: bool = False

    def steps(self) -> int:
        """Batches per epoch; a last, smaller one is dropped, since BatchNorm needs full batches."""
        return self._count() // self.batch_size

    def _count(self) -> int:
        return len(self.split.labels if self.chosen is None else self.chosen)

    def batches(self, epoch: int) -> Iterator[Tuple[Tensor, Tensor]]:
        """Normalised views (J, B, C, H, W) and labels (B,), shuffled."""
        draw = np.random.Generator(np.random.Philox(key=np.array([self.key, epoch], np.uint64)))
        order = draw.permutation(self._count() if self.chosen is None else self.chosen)
        for step in range(self.steps()):
            indices = self.team.part_of(order[step * self.batch_size : (step + 1) * self.batch_size])
            images = torch.from_numpy(np.ascontiguousarray(self.split.images[indices])).to(self.device)
            labels = torch.from_numpy(self.split.labels[indices]).to(self.device)
            yield self.augmenter(images, indices=indices, epoch=epoch, seed=self.key)[self.first :], labels


@dataclass(frozen=True)
class EpochResult:
    """Means over an epoch, or over the steps of it that were taken; accuracy is that on the clean view, while training."""

    loss: float
    accuracy: float
    learning_rate: float
    seconds: float
    images: int


Pace = Callable[[int], float]
"""Steps of a phase that are done → how far along the phase is: from 0 to below 1; it is over from 1 on."""


def by_steps(total: int) -> Pace:
    """The pace of a phase of ``total`` steps."""
    return lambda step: step / total


@dataclass(frozen=True)
class Newborn:
    """The learning rate of weights that came with growth, relative to that of all others, while they settle.

    Newborn units are passed on but get little gradient at first (arXiv 2605.15435), and learn better at a rate of their own (Yuan
    et al., NeurIPS 2023, arXiv 2306.12700). Scaling their gradients scales what momentum gathers, and so their rate.

    Attributes:
        masks: parameter name → bool mask of its shape, True for newborn weights.
        factor: at the first step; it goes to 1 along a straight line.
        steps: that it takes.
    """

    masks: Mapping[str, Tensor]
    factor: float
    steps: int

    @torch.no_grad()
    def scale(self, model: nn.Module, step: int) -> None:
        """Scale the gradients of newborn weights for step number ``step`` of the phase, in place."""
        left = 1 - step / self.steps if step < self.steps else 0.0
        factor = 1 + (self.factor - 1) * left
        if factor == 1:
            return
        for name, parameter in model.named_parameters():
            if name in self.masks and parameter.grad is not None:
                mask = self.masks[name].to(parameter.device)
                parameter.grad.mul_(torch.where(mask, factor, 1.0))


def make_optimizer(
    model: nn.Module, config: Optimizer, momentum: Mapping[str, Tensor], team: Team = ALONE
) -> torch.optim.Optimizer:
    """Nesterov SGD or Muon, starting from the given momentum buffers (by parameter name); a team shares Muon's work."""
    optimizer: torch.optim.Optimizer
    if config.kind == "muon":
        optimizer = Muon(model, config.learning_rate, config.relative_rate, config.momentum, config.weight_decay, team)
    else:
        optimizer = torch.optim.SGD(
            model.parameters(),
            config.learning_rate,
            momentum=config.momentum,
            weight_decay=config.weight_decay,
            nesterov=config.momentum > 0,
        )
    for name, parameter in model.named_parameters():
        if name in momentum:
            # Laid out like the parameter, whether it comes from a checkpoint or from the phase before.
            optimizer.state[parameter]["momentum_buffer"] = torch.empty_like(parameter).copy_(momentum[name])
    return optimizer


def momentum_of(model: nn.Module, optimizer: torch.optim.Optimizer) -> Dict[str, Tensor]:
    """The optimizer's momentum buffers by parameter name."""
    states = ((name, optimizer.state.get(parameter, {}).get("momentum_buffer")) for name, parameter in model.named_parameters())
    return {name: buffer for name, buffer in states if buffer is not None}


def learning_rate(config: Optimizer, step: int, steps_per_epoch: int, pace: Pace, course: Course = WHOLE) -> float:
    """Cosine from the base rate to 0 over a phase, after a linear warm-up (Loshchilov & Hutter 2017, arXiv 1608.03983).

    The warm-up lasts ``config.warmup_epochs``, but no more than a quarter of the phase.
    """
    progress, warmup = min(pace(step), 1.0), config.warmup_epochs * steps_per_epoch if course.warms_up else 0.0
    ramp = min(1.0, max((step + 1) / warmup, 4 * pace(step + 1))) if warmup > 0 else 1.0
    return config.learning_rate * ramp * (0.5 * (1 + math.cos(math.pi * progress)) if course.falls else 1.0)


class Amp:
    """Mixed precision where the device has it: float16 autocast with loss scaling on CUDA, nothing elsewhere.

    A CPU is left in float32: without hardware for it, bfloat16 is many times slower.
    """

    def __init__(self, device: torch.device, state: Mapping[str, Any]) -> None:
        self.enabled = device.type == "cuda"
        scaler: Any = getattr(torch.amp, "GradScaler", None) or torch.cuda.amp.GradScaler
        self.scaler = scaler(enabled=self.enabled)
        if self.enabled and state:
            self.scaler.load_state_dict(dict(state))

    def state(self) -> Dict[str, Any]:
        """JSON-ready; empty where mixed precision is off."""
        return dict(self.scaler.state_dict())

    def autocast(self) -> ContextManager[Any]:
        return torch.autocast("cuda", dtype=torch.float16) if self.enabled else nullcontext()

    def backward(self, loss: Tensor) -> None:
        self.scaler.scale(loss).backward()

    def step(self, optimizer: torch.optim.Optimizer) -> None:
        self.scaler.step(optimizer)
        self.scaler.update()


def train_epoch(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    amp: Amp,
    feed: Feed,
    config: Optimizer,
    epoch: int,
    epochs: int,
    on_step: Callable[[int, int], None],
    *,
    pace: Optional[Pace] = None,
    newborn: Optional[Newborn] = None,
    course: Course = WHOLE,
    scale: float = 1.0,
    micro_batches: Optional[MicroBatches] = None,
) -> EpochResult:
    """Train for one epoch (``epoch`` of ``epochs``, from 0); ``on_step(done, total)`` follows the steps.

    Args:
        pace: by default that of ``epochs`` epochs. Where it ends the phase within the epoch, the epoch is cut short, after one
            step at the soonest.
        newborn: how weights that have just come with growth are treated.
        course: of the learning rate in this phase.
        scale: on the learning rate, after a loss that ran away.
        micro_batches: how a batch is shared out where memory is short; by default batches are whole to begin with.

    Raises:
        DivergedError: if the loss stops being finite.
        UserError: if memory does not suffice for single images.
    """
    model.train()
    micro_batches = micro_batches or MicroBatches()
    steps, team = feed.steps(), feed.team
    pace = pace or by_steps(epochs * steps)
    total_loss, correct, rate, done = 0.0, 0, 0.0, 0
    start = time.perf_counter()
    with whole_batches(model, team if feed.sync_batchnorm else ALONE):
        for step, (views, labels) in enumerate(feed.batches(epoch), start=epoch * steps):
            if done and pace(step) >= 1:
                break
            rate = learning_rate(config, step, steps, pace, course) * scale
            for group in optimizer.param_groups:
                group["lr"] = rate
            found = micro_batches.learn(
                model,
                views,
                labels,
                config.consistency,
                autocast=amp.autocast,
                forget=lambda: optimizer.zero_grad(set_to_none=True),
                backward=amp.backward,
                share=len(labels) / feed.batch_size,
            )
            found = team.summed(model, found)
            if newborn is not None:
                newborn.scale(model, step)
            amp.step(optimizer)
            done += 1
            if not math.isfinite(found.loss):
                raise DivergedError(
                    f"the loss became {found.loss} at step {done} of epoch {epoch + 1}",
                    f"start a new run, in another --out, with a lower --optimizer.learning-rate (now {config.learning_rate})",
                )
            total_loss += found.loss
            correct += found.correct
            on_step(done, steps)
    images = done * feed.batch_size
    return EpochResult(total_loss / done, correct / images, rate, time.perf_counter() - start, images)


@torch.no_grad()
def accuracy(
    model: nn.Module,
    split: Split,
    normalize: nn.Module,
    device: torch.device,
    batch_size: int = 256,
    chosen: Optional[np.ndarray] = None,
    team: Team = ALONE,
) -> float:
    """The fraction of a split's images that the network, in eval mode, classifies correctly; ``chosen`` names some by index, and
    each process of a team sees its part of them."""
    model.eval()
    correct, seen = 0, 0
    if team.size > 1:
        chosen = team.part_of(np.arange(len(split.labels)) if chosen is None else chosen)
    for images, labels in normalised_batches(split, normalize, device, batch_size, chosen):
        correct += int((model(images).argmax(1).cpu().numpy() == labels).sum())
        seen += len(labels)
    found = torch.tensor([correct, seen], dtype=torch.float64, device=team.device)
    team.add_up([found])
    return float(found[0] / found[1])


def normalised_batches(
    split: Split, normalize: nn.Module, device: torch.device, batch_size: int = 256, chosen: Optional[np.ndarray] = None
) -> Iterator[Tuple[Tensor, np.ndarray]]:
    """A split in order, or those of its images chosen by index, as a network takes it: normalised float32 images (B, C, H, W) on
    the device, channels-last, and int64 labels (B,)."""
    indices = np.arange(len(split.labels)) if chosen is None else chosen
    for start in range(0, len(indices), batch_size):
        batch = indices[start : start + batch_size]
        images = torch.from_numpy(np.ascontiguousarray(split.images[batch])).to(device)
        yield normalize(images.float() / 255).contiguous(memory_format=torch.channels_last), split.labels[batch]
