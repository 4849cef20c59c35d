"""Out of memory in a training step: the batch goes through the network in smaller parts, whose gradients add up to the same."""

from __future__ import annotations

import gc
import math
import re
from contextlib import suppress
from ctypes import CDLL
from dataclasses import dataclass
from typing import Any, Callable, ContextManager, List, NamedTuple, Optional

import torch
from torch import Tensor, nn

from gearnn.engine.profile import resident_mb
from gearnn.errors import UserError
from gearnn.losses import consistency_loss, logits_of

_REFUSALS = re.compile(
    "can't allocate memory|not enough memory|out of memory|std::bad_alloc|ALLOC_FAILED"
    "|Unable to find a valid cuDNN algorithm|unable to find an engine to execute"  # cuDNN, of its workspace
    "|could not (create|execute) a primitive(?! descriptor)"  # oneDNN; of a descriptor: what it has no code for
)
"""What torch's allocators and the libraries below them say in a plain RuntimeError."""
_SINGLE = "more than 1 value per channel"
"""How BatchNorm refuses, with ValueError, an image at a time where its maps are of one pixel."""


class MemoryLimitError(MemoryError):
    """The process holds more than it may."""


class Outcome(NamedTuple):
    """Of a batch: the mean loss, and how many images of its first view are classified correctly."""

    loss: float
    correct: int


@dataclass
class MicroBatches:
    """How many images of a batch go through the network at a time.

    The loss is a mean over images, so the gradient of a batch is the mean of its parts' gradients, weighted by their sizes:
    learning rate and momentum mean the same as before. BatchNorm is the exception: in training it normalises by the statistics of
    what is in front of it, which are now those of a part, and its running statistics move once per part.

    Attributes:
        size: images at a time; 0 takes whole batches. It only ever falls.
        limit: bytes of resident memory that the process may hold (Linux); None: no limit but the device's own.
        halved: is told of each new size.
    """

    size: int = 0
    limit: Optional[int] = None
    halved: Callable[[int], None] = lambda size: None

    def learn(
        self,
        model: nn.Module,
        views: Tensor,
        labels: Tensor,
        weight: float,
        *,
        autocast: Callable[[], ContextManager[Any]],
        forget: Callable[[], None],
        backward: Callable[[Tensor], None],
        share: float = 1.0,
    ) -> Outcome:
        """Compute the loss of a batch and its gradients; where memory runs out, do so again from the start in smaller parts.

        What a failed attempt has left in gradients and in the model's buffers, BatchNorm's statistics among them, is undone.

        Args:
            views: float (J, B, C, H, W).
            labels: int64 (B,).
            weight: of the consistency term.
            autocast: the precision of a forward pass.
            forget: drops all gradients; called before the first forward pass, which then has their memory.
            backward: adds a loss's gradients.
            share: of the whole batch that these images are, where other processes have the rest: the loss is weighted by it, and
                the batch is not halved, which one process cannot do by itself.

        Raises:
            UserError: if memory does not suffice for single images, or the network returns anything but logits.
        """
        before = [buffer.clone() for buffer in model.buffers()]
        while True:
            try:
                return self._attempt(model, views, labels, weight, autocast, forget, backward, share)
            except (MemoryError, RuntimeError, ValueError) as error:
                if not is_out_of_memory(error) and not (self.size and _SINGLE in str(error)):
                    raise
                reason = str(error).partition("\n")[0]
            # Out of the handler, whose traceback keeps the attempt's tensors alive.
            present = min(self.size or len(labels), len(labels))
            forget()
            with torch.no_grad():
                for buffer, kept in zip(model.buffers(), before):
                    buffer.copy_(kept)
            release()
            if share < 1:
                raise UserError(
                    f"memory does not suffice for this process's part of a batch, {present} images ({reason}): start more "
                    "processes on other machines, or a new run with a smaller --optimizer.batch-size"
                )
            if present <= 1:
                raise UserError(
                    f"memory does not suffice for a training step, even one image at a time ({reason}): end other programs, "
                    "raise --memory-limit if one is set, or start a new run with fewer --augmentation.views, a smaller "
                    "--image-size or a lower --budget"
                )
            self.size = math.ceil(present / 2)
            self.halved(self.size)

    def _attempt(
        self,
        model: nn.Module,
        views: Tensor,
        labels: Tensor,
        weight: float,
        autocast: Callable[[], ContextManager[Any]],
        forget: Callable[[], None],
        backward: Callable[[Tensor], None],
        share: float,
    ) -> Outcome:
        total, value, correct = len(labels), 0.0, 0
        forget()
        for part in parts(total, self.size):
            whole = len(part) == total
            seen = views if whole else views[:, part[0] : part[-1] + 1]
            wanted = labels if whole else labels[part[0] : part[-1] + 1]
            images = seen.flatten(0, 1)
            if not whole and images.ndim == 4:
                images = images.contiguous(memory_format=torch.channels_last)
            with autocast():
                logits = logits_of(model(images), len(images)).float().unflatten(0, seen.shape[:2])
                loss = consistency_loss(logits, wanted, weight=weight)
            if not whole or share < 1:
                loss = loss * (share * len(part) / total)
            self._check()
            backward(loss)
            value += loss.item()
            correct += int((logits[0].argmax(1) == wanted).sum())
        return Outcome(value, correct)

    def _check(self) -> None:
        """Hold the process to its limit, where it holds the most: between a forward and a backward pass."""
        if self.limit is None:
            return
        held = resident_mb()
        if held is not None and held * 1e6 > self.limit:
            trim()  # what is held for nothing does not count
            held = resident_mb() or held
        if held is not None and held * 1e6 > self.limit:
            raise MemoryLimitError(f"the process holds {held:.0f} MB, over its limit of {self.limit / 1e6:.0f} MB")


def parts(total: int, size: int) -> List[range]:
    """The numbers from 0 to ``total``, in order, in as few parts of at most ``size`` as will do, as even as can be; 0: in one."""
    count = math.ceil(total / size) if size else 1
    edges = [total * i // count for i in range(count + 1)]
    return [range(start, end) for start, end in zip(edges, edges[1:])]


def halved_remark(phase: str, epoch: int, size: int, batch_size: int) -> str:
    """For the reader of a result; ``epoch`` counts from 0."""
    return (
        f"Memory ran out in epoch {epoch + 1} of phase {phase}: from there on at most {size} of a batch's {batch_size} images "
        "went through the network at a time, which BatchNorm notices."
    )


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error of torch, NumPy or Python means that memory could not be had, on a GPU or a CPU."""
    if isinstance(error, (MemoryError, torch.cuda.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and _REFUSALS.search(str(error)) is not None


def release() -> None:
    """Give back what is held for nothing: garbage, the caches of CUDA's allocator, and free pages of the C library's heap."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    trim()


def trim() -> None:
    """Give free pages of the C library's heap back to the system, where it has a call for that (glibc)."""
    with suppress(OSError, AttributeError, TypeError):
        CDLL(None).malloc_trim(0)
