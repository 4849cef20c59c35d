"""Peak memory of a training step, measured: what torch's allocator hands out for it."""

from __future__ import annotations

import copy
import os
from typing import Any, Callable

import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from gearnn.config import Optimizer
from gearnn.losses import consistency_loss, logits_of
from gearnn.training import Amp, make_optimizer


def measured_memory(model: nn.Module, example_input: Tensor, batch_size: int, views: int = 1) -> float:
    """Peak bytes in a step of SGD with momentum on random images: weights, gradients, momentum, activations, the batch.

    A step does what `gearnn.training.train_epoch` does: the gradients of the one before are freed first.

    On CUDA it is the allocator's own peak. On a CPU the allocations of a step are traced and added up; what convolution libraries
    take for themselves past torch's allocator, and the process itself, are not in it.

    Args:
        model: not changed.
        example_input: (B, C, H, W), whose shape and device count.

    Raises:
        UserError: if the network returns anything but logits.
    """
    model = copy.deepcopy(model).train()
    optimizer = make_optimizer(model, Optimizer(learning_rate=0.0), {})
    precision = Amp(example_input.device, {})
    images = torch.randn(batch_size * views, *example_input.shape[1:], device=example_input.device)
    images = images.contiguous(memory_format=torch.channels_last)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with precision.autocast():
            logits = logits_of(model(images), len(images)).float().unflatten(0, (views, batch_size))
        loss = consistency_loss(logits, torch.arange(batch_size, device=images.device) % logits.shape[2])
        loss.backward()
        optimizer.step()

    try:
        step()  # the optimizer's buffers
    except RuntimeError:  # a view in the network that needs channels first
        images = images.contiguous()
        step()
    optimizer.zero_grad(set_to_none=True)  # what is freed in the trace must have been allocated in it
    if images.is_cuda:
        torch.cuda.reset_peak_memory_stats(images.device)
        before = torch.cuda.memory_allocated(images.device)
        step()
        rise = float(torch.cuda.max_memory_allocated(images.device) - before)
    else:
        rise = _traced_peak(step)
    kept = [*model.parameters(), *model.parameters(), *model.buffers(), images]  # parameters again for their momentum
    return rise + sum(tensor.numel() * tensor.element_size() for tensor in kept)


def _traced_peak(job: Callable[[], None]) -> float:
    """The greatest sum of bytes that were allocated and not yet freed since the job began."""
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # the profiler speaks on standard error otherwise
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as trace:
        job()
    events: Any = [event for event in trace.profiler.kineto_results.events() if event.name() == "[memory]"]
    held, peak = 0, 0
    for event in sorted(events, key=lambda event: event.start_ns() if hasattr(event, "start_ns") else event.start_us()):
        held += event.nbytes()
        peak = max(peak, held)
    return float(peak)
