"""What each channel is worth to the layer that reads it, caught on the way back through the network.

The Taylor criterion (Molchanov et al., "Importance Estimation for Neural Network Pruning", CVPR 2019, arXiv 1906.10771): the
loss's derivative by a factor on channel c is S_c = Σ g·a over images and positions, with a what the layer reads and g the
loss's gradient by it.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any, Tuple

import torch
from torch import Tensor, nn
from torch.func import functional_call

from gearnn.kernels.score import channel_sums


def score_inputs(layer: nn.Module, totals: Tensor) -> None:
    """Make a layer of a widened shell read only its existing channels, and score all that it is offered.

    Args:
        layer: a convolution or a linear layer, with the network's own weights still in it: their shape says which channels exist.
            Those come first, among its inputs and its outputs.
        totals: float64 (n,) for the n channels offered; every backward pass adds Σ g·a, where g is the gradient by what the
            layer would read if it read all.
    """
    reader = _Reader(copy.deepcopy(layer), totals)
    # The first layers that score have inputs without history: this makes torch call the way back all the same.
    start = torch.zeros((), device=totals.device, requires_grad=True)

    def forward(x: Tensor) -> Tensor:
        out: Tensor = _GatedRead.apply(x, start, layer.weight, getattr(layer, "bias", None), reader)
        return out

    layer.forward = forward


@dataclass(frozen=True)
class _Reader:
    layer: nn.Module
    totals: Tensor

    def existing(self) -> Tuple[int, int]:
        """How many outputs and input features the network has without candidates."""
        weight: Tensor = self.layer.weight  # type: ignore[assignment]
        return int(weight.shape[0]), int(weight.shape[1])

    def read(self, x: Tensor, weight: Tensor, bias: Any) -> Tensor:
        state = {"weight": weight} if bias is None else {"weight": weight, "bias": bias}
        out: Tensor = functional_call(self.layer, state, (x,))
        return out

    def collect(self, x: Tensor, gradient: Tensor) -> None:
        channels = (len(x), len(self.totals), -1)
        threads = torch.get_num_threads() if x.device.type == "cpu" else None
        if x.dim() == 2:  # a linear layer, which behind a flattening reads several features per channel
            x, gradient = x.reshape(channels), gradient.reshape(channels)
        self.totals.add_(channel_sums(x, gradient, threads=threads).ga)


class _GatedRead(torch.autograd.Function):
    """Forward with the candidates off; back, with the gradient by all inputs, which exists here only and for a moment.

    Outputs that are candidates are off too, further on: their gradient is zero and not looked at.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, start: Tensor, weight: Tensor, bias: Any, reader: _Reader) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.reader = reader
        _, columns = reader.existing()
        return reader.read(x[:, :columns], weight[:, :columns], bias)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        x, weight = ctx.saved_tensors
        rows, columns = ctx.reader.existing()
        with torch.enable_grad():
            offered = x.detach().requires_grad_()
            out = ctx.reader.read(offered, weight[:rows], None)
        (by_offered,) = torch.autograd.grad(out, offered, gradient[:, :rows])
        ctx.reader.collect(x, by_offered)
        by_offered[:, columns:] = 0
        return by_offered, None, None, None, None
