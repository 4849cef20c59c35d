"""What each candidate is worth to the layer that would read it, caught on the way back through the network.

The network runs with all candidates offered and none read: every layer computes the outputs of its candidates, but reads existing
channels only. On the way back a layer sees the gradient by its outputs and everything that it was offered.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import Any, Callable, Dict, Optional, Tuple

import torch
from torch import Tensor, nn
from torch.func import functional_call

from gearnn.growth.carry import old_channels
from gearnn.growth.graph import ChannelGraph, Layer, size
from gearnn.kernels.score import channel_sums

_GRAM_ROWS = 4096  # positions of a piece of the data that a Gram matrix is made from

Collect = Callable[["Reader", Tensor, Tensor], None]
"""``collect(reader, offered, gradient)``: what the layer was offered (B, n_i, …), and the loss's gradient by its existing
outputs."""


@dataclass
class Reader:
    """A consumer in a widened shell.

    Attributes:
        layer: in the graph.
        module: a copy of the layer with the offered shapes.
        rows: the number of its existing outputs.
        whole: its outputs are offered as copies of all of them, since a LayerNorm runs over them.
        columns: int64, which of its inputs exist (of a linear layer behind a flattening: which features).
        widths: offered channels by group.
        totals: what ``collect`` adds up, by a name of its own.
    """

    layer: Layer
    module: nn.Module
    rows: int
    whole: bool
    columns: Tensor
    widths: Dict[str, int]
    totals: Dict[str, Tensor] = field(default_factory=dict)

    def axis(self, x: Tensor) -> int:
        """Where the channels lie in what it reads and writes."""
        return x.dim() - 1 if isinstance(self.module, nn.Linear) else 1

    def read(self, x: Tensor, weight: Tensor, bias: Optional[Tensor]) -> Tensor:
        state = {"weight": weight} if bias is None else {"weight": weight, "bias": bias}
        out: Tensor = functional_call(self.module, state, (x,))
        return out

    def add(self, name: str, values: Tensor) -> None:
        self.totals[name] = self.totals[name] + values if name in self.totals else values


def read_existing(shell: nn.Module, graph: ChannelGraph, widths: Dict[str, int], collect: Optional[Collect]) -> Dict[str, Reader]:
    """Make every consumer of a widened shell read existing channels only, and hand what it was offered to ``collect``.

    Args:
        widths: offered channels by group.
        collect: None for a shell that only runs forward.

    Returns:
        The consumers' readers by path.
    """
    readers, whole = {}, {group.name for group in graph.groups if group.whole}
    for path in dict.fromkeys(layer for group in graph.groups for layer in group.consumers):
        layer, module = graph.layers[path], shell.get_submodule(path)
        columns = old_channels(layer.inputs, widths)[:, None] * layer.features + torch.arange(layer.features)
        device: torch.device = module.weight.device  # type: ignore[assignment]
        rows, copied = size(layer.outputs, {}), layer.outputs[0].group in whole
        reader = Reader(layer, copy.deepcopy(module), rows, copied, columns.flatten().to(device), widths)
        module.forward = _forward(module, reader, collect)
        readers[path] = reader
    return readers


def _forward(module: nn.Module, reader: Reader, collect: Optional[Collect]) -> Callable[[Tensor], Tensor]:
    # The first layers that score have inputs without history: this makes torch call the way back all the same.
    start = torch.zeros((), device=reader.columns.device, requires_grad=True)

    def forward(x: Tensor) -> Tensor:
        out: Tensor = _GatedRead.apply(x, start, module.weight, getattr(module, "bias", None), reader, collect)
        return out

    return forward


class _GatedRead(torch.autograd.Function):
    """Forward with the candidates off; back, the gradient by existing inputs, after what was offered has been collected.

    Outputs that are candidates are off too, further on: their gradient is zero and not looked at. Only copies under a LayerNorm
    have one, by its mean and variance, and add it to that of what they copy: together they are what the network has now.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, start: Tensor, weight: Tensor, bias: Any, reader: Reader, collect: Optional[Collect]
    ) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.reader, ctx.collect = reader, collect
        return reader.read(x.index_select(reader.axis(x), reader.columns), weight.index_select(1, reader.columns), bias)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        x, weight = ctx.saved_tensors
        reader: Reader = ctx.reader
        axis = reader.axis(x)
        existing = gradient.narrow(axis, 0, reader.rows)
        if reader.whole:
            existing = gradient.unflatten(axis, (-1, reader.rows)).sum(axis)
        if ctx.collect is not None:
            ctx.collect(reader, x, existing)
        with torch.enable_grad():
            read = x.index_select(axis, reader.columns).detach().requires_grad_()
            out = reader.read(read, weight[: reader.rows].index_select(1, reader.columns), None)
        (by_read,) = torch.autograd.grad(out, read, existing)
        by_offered = torch.zeros_like(x)
        by_offered.index_copy_(axis, reader.columns, by_read)
        return by_offered, None, None, None, None, None


def taylor(weights: Dict[str, Tensor]) -> Collect:
    """Σ g·a of every offered channel, with g the gradient by it if it were read with these weights (all columns, by path).

    The Taylor criterion (Molchanov et al., "Importance Estimation for Neural Network Pruning", CVPR 2019, arXiv 1906.10771): the
    loss's derivative by a factor on a channel.
    """

    def collect(reader: Reader, x: Tensor, gradient: Tensor) -> None:
        with torch.enable_grad():
            offered = x.detach().requires_grad_()
            out = reader.read(offered, weights[reader.layer.path][: reader.rows], None)
        (by_offered,) = torch.autograd.grad(out, offered, gradient)
        reader.add("taylor", _sums(reader, x, by_offered).ga.double())

    return collect


def weight_gradient() -> Collect:
    """The loss's gradient by the weights with which every offered channel would be read, its mean square, and
    the mean of h hᵀ over a sample of positions."""

    def collect(reader: Reader, x: Tensor, gradient: Tensor) -> None:
        module, channels = reader.module, size(reader.layer.inputs, reader.widths)
        with torch.enable_grad():
            offered = x.shape[reader.axis(x)]
            weight = x.new_zeros((reader.rows, offered, *module.weight.shape[2:])).requires_grad_()  # type: ignore[index]
            out = reader.read(x, weight, None)
        (found,) = torch.autograd.grad(out, weight, gradient)
        by_channel = found.reshape(reader.rows, channels, -1).transpose(0, 1).flatten(1)
        reader.add("product", by_channel @ by_channel.t())
        reader.add("gradient", found.reshape(reader.rows, channels, -1))
        behind_flattening = reader.layer.features > 1
        by_position = x.reshape(len(x), channels, -1).transpose(1, 2) if behind_flattening else x.movedim(reader.axis(x), -1)
        rows = by_position.reshape(-1, channels)[:: max(1, x.numel() // channels // _GRAM_ROWS)]
        reader.add("gram", rows.t() @ rows / len(rows))
        reader.add("squares", _sums(reader, x, x).aa.double() * (channels / x.numel()))

    return collect


def _sums(reader: Reader, x: Tensor, gradient: Tensor) -> Any:
    """Per-channel sums over images and positions, wherever the channels lie."""
    threads = torch.get_num_threads() if x.device.type == "cpu" else None
    if isinstance(reader.module, nn.Linear):
        shape: Tuple[int, ...] = (-1, size(reader.layer.inputs, reader.widths), reader.layer.features)
        x, gradient = x.reshape(shape), gradient.reshape(shape)
    return channel_sums(x, gradient, threads=threads)
