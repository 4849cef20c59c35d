"""The training loop: one epoch at a time, everything random keyed by (seed, phase, epoch)."""

from __future__ import annotations

import math
import time
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, Callable, ContextManager, Dict, Iterator, Mapping, Tuple

import numpy as np
import torch
from torch import Tensor, nn

from gearnn.config import Optimizer
from gearnn.data import Split
from gearnn.era import ERA
from gearnn.errors import UserError
from gearnn.losses import consistency_loss


@dataclass(frozen=True)
class Feed:
    """Augmented batches of a training set, on a device.

    Attributes:
        split: uint8 images (N, C, H, W) and labels (N,).
        era: yields the normalised views of a batch.
        key: what makes the draws of a phase differ from another's; with the epoch it decides order and augmentation.
    """

    split: Split
    era: ERA
    batch_size: int
    key: int
    device: torch.device

    def steps(self) -> int:
        """Batches per epoch; a last, smaller one is dropped, since BatchNorm needs full batches."""
        return len(self.split.labels) // self.batch_size

    def batches(self, epoch: int) -> Iterator[Tuple[Tensor, Tensor]]:
        """Normalised views (J, B, C, H, W) and labels (B,), shuffled."""
        order = np.random.Generator(np.random.Philox(key=np.array([self.key, epoch], np.uint64))).permutation(
            len(self.split.labels)
        )
        for step in range(self.steps()):
            indices = order[step * self.batch_size : (step + 1) * self.batch_size]
            images = torch.from_numpy(np.ascontiguousarray(self.split.images[indices])).to(self.device)
            labels = torch.from_numpy(self.split.labels[indices]).to(self.device)
            yield self.era(images, indices=indices, epoch=epoch, seed=self.key), labels


@dataclass(frozen=True)
class EpochResult:
    """Means over an epoch; accuracy is that on the clean view, while training."""

    loss: float
    accuracy: float
    learning_rate: float
    seconds: float
    images: int


def make_optimizer(model: nn.Module, config: Optimizer, momentum: Mapping[str, Tensor]) -> torch.optim.SGD:
    """Nesterov SGD that starts from the given momentum buffers (by parameter name)."""
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


def momentum_of(model: nn.Module, optimizer: torch.optim.SGD) -> Dict[str, Tensor]:
    """The optimizer's momentum buffers by parameter name."""
    states = ((name, optimizer.state.get(parameter, {}).get("momentum_buffer")) for name, parameter in model.named_parameters())
    return {name: buffer for name, buffer in states if buffer is not None}


def learning_rate(config: Optimizer, step: int, steps_per_epoch: int, total_steps: int) -> float:
    """Cosine from the base rate to 0 over a phase, after a linear warm-up (Loshchilov & Hutter 2017, arXiv 1608.03983)."""
    warmup = min(config.warmup_epochs * steps_per_epoch, total_steps / 4)
    ramp = min(1.0, (step + 1) / warmup) if warmup > 0 else 1.0
    return config.learning_rate * ramp * 0.5 * (1 + math.cos(math.pi * step / total_steps))


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

    def step(self, loss: Tensor, optimizer: torch.optim.Optimizer) -> None:
        self.scaler.scale(loss).backward()
        self.scaler.step(optimizer)
        self.scaler.update()


def train_epoch(
    model: nn.Module,
    optimizer: torch.optim.SGD,
    amp: Amp,
    feed: Feed,
    config: Optimizer,
    epoch: int,
    epochs: int,
    on_step: Callable[[int, int], None],
) -> EpochResult:
    """Train for one epoch (``epoch`` of ``epochs``, from 0); ``on_step(done, total)`` follows the steps.

    Raises:
        UserError: if the loss stops being finite.
    """
    model.train()
    steps = feed.steps()
    total_loss, correct, rate = 0.0, 0, 0.0
    start = time.perf_counter()
    for step, (views, labels) in enumerate(feed.batches(epoch)):
        rate = learning_rate(config, epoch * steps + step, steps, epochs * steps)
        for group in optimizer.param_groups:
            group["lr"] = rate
        with amp.autocast():
            logits = model(views.flatten(0, 1)).float().unflatten(0, views.shape[:2])
            loss = consistency_loss(logits, labels, weight=config.consistency)
        optimizer.zero_grad(set_to_none=True)
        amp.step(loss, optimizer)
        value = loss.item()
        if not math.isfinite(value):
            raise UserError(
                f"the loss became {value} at step {step + 1} of epoch {epoch + 1}: start a new run, in another --out, with "
                f"a lower --optimizer.learning-rate (now {config.learning_rate})"
            )
        total_loss += value
        correct += int((logits[0].argmax(1) == labels).sum())
        on_step(step + 1, steps)
    images = steps * feed.batch_size
    return EpochResult(total_loss / steps, correct / images, rate, time.perf_counter() - start, images)


@torch.no_grad()
def accuracy(model: nn.Module, split: Split, normalize: nn.Module, device: torch.device, batch_size: int = 256) -> float:
    """The fraction of a split's images that the network, in eval mode, classifies correctly."""
    model.eval()
    correct = 0
    for start in range(0, len(split.labels), batch_size):
        images = torch.from_numpy(np.array(split.images[start : start + batch_size])).to(device)
        logits = model(normalize(images.float() / 255).contiguous(memory_format=torch.channels_last))
        correct += int((logits.argmax(1).cpu().numpy() == split.labels[start : start + batch_size]).sum())
    return correct / len(split.labels)
