"""Whether a grown network still computes what the original does, as far as one example shows."""

from __future__ import annotations

import math
from contextlib import nullcontext
from typing import Any, ContextManager, List, Mapping, Optional

import torch
from torch import Tensor, nn

from gearnn.growth.tracing import evaluating

TOLERANCE = 1e-5
"""Of the largest output: what float32 rounding may make of a function that was kept."""


def output_difference(model: nn.Module, grown: nn.Module, example_input: Tensor) -> Optional[float]:
    """The largest difference of two networks' outputs in eval mode, as a fraction of the largest output; of several outputs the
    worst. None where outputs are not finite.

    Args:
        example_input: (B, C, H, W), on the models' device.
    """
    example = torch.cat([example_input, example_input])  # as in tracing: of one image, squeezing would take away the batch
    exact: ContextManager[Any] = nullcontext()
    if example.is_cuda:  # TF32, which convolutions may use by default, rounds to a thousandth
        exact = torch.backends.cudnn.flags(enabled=torch.backends.cudnn.enabled, allow_tf32=False)
    with evaluating(model), evaluating(grown), torch.no_grad(), exact:
        pairs = zip(*(_tensors(network(example.clone())) for network in (model, grown)))
        worst = max((_relative(before.double(), after.double()) for before, after in pairs), default=0.0)
    return worst if math.isfinite(worst) else None


def _relative(before: Tensor, after: Tensor) -> float:
    if not (before.isfinite().all() and after.isfinite().all()):
        return math.inf
    return float((after - before).abs().max() / before.abs().max().clamp(min=1e-30))


def _tensors(found: Any) -> List[Tensor]:
    """What a network returned, with tuples, lists and mappings unpacked."""
    if isinstance(found, Tensor):
        return [found] if found.numel() else []
    parts = found.values() if isinstance(found, Mapping) else found if isinstance(found, (list, tuple)) else ()
    return [tensor for part in parts for tensor in _tensors(part)]


def remark(grower: str, difference: Optional[float]) -> Optional[str]:
    """For the reader of a result, about a grower that should have kept the function; None where it did."""
    if difference is not None and difference <= TOLERANCE:
        return None
    changed = "are not finite" if difference is None else f"changed by {difference:.1e} of the largest"
    return (
        f"The grower {grower} should leave what the network computes as it was, but outputs on the example {changed} "
        f"(more than {TOLERANCE:.0e}): look at the accuracy right after growth."
    )
