"""Widen a network: one formula gives its weights while candidates are trained, while they are scored, and once they are grown.

A *bank* holds, for each layer, the present weights and those of all candidates. A *layout* says, for each channel of a
group, where in the bank it comes from. Because training, scoring and the final surgery differ only in their layouts, what
is grown is what was scored.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import Any, Dict, List, Mapping, Sequence, Tuple

import torch
from torch import Tensor, nn

from gearnn.growth.graph import ChannelGraph, Layer, Span, size


@dataclass(frozen=True)
class Layout:
    """The channels of one widened group, n in all.

    Attributes:
        source: int64 (n,), the bank row each channel comes from: below the group's width an existing neuron, above a new one.
        sign: float32 (n,), how much of the split direction is added to its incoming weights: +1, −1 or 0.
        gain: float32 (n,), the factor on its outgoing weights: ½ for each half of a split neuron.
    """

    source: Tensor
    sign: Tensor
    gain: Tensor


Columns = Dict[Tuple[str, str], Tensor]
"""Tensors by layer and group: a layer behind a concatenation reads, normalises or filters the channels of several."""


@dataclass(frozen=True)
class Bank:
    """Candidate weights, float32; existing weights are kept apart, in the model.

    With w existing and K new channels on a layer's output (o) and input (i) side:

    Attributes:
        split: producer → (w_o, w_i, rest), the direction v along which each existing neuron is split.
        new_rows: producer → (K_o, w_i, rest), the incoming weights of new neurons.
        new_columns: (consumer, group) → (w_o, K_i, rest), their outgoing weights.
        new_filters: (depthwise or grouped follower, group) → (K, b, rest), their spatial filters.
        new_stats: (BatchNorm, group) → (2, K), their running mean and variance; 0 and 1 where it has none.
        new_links: (layer, group) → (K_o, K_i, rest), with which new neurons read new ones; 0 where it has none.
    """

    split: Dict[str, Tensor]
    new_rows: Dict[str, Tensor]
    new_columns: Columns
    new_filters: Columns
    new_stats: Columns = field(default_factory=dict)
    new_links: Columns = field(default_factory=dict)

    def tensors(self) -> List[Tensor]:
        """All candidate weights; statistics are none."""
        parts = (self.split, self.new_rows, self.new_columns, self.new_filters)
        return [tensor for part in parts for tensor in part.values()]


def matrix_view(module: nn.Module, in_channels: int) -> Tensor:
    """A conv or linear weight as (out, in, rest); behind a flattening, a linear layer reads several features per channel."""
    weight: Tensor = module.weight.detach()  # type: ignore[operator]
    return weight.reshape(weight.shape[0], in_channels, -1)


def widened_state(model: nn.Module, graph: ChannelGraph, bank: Bank, layouts: Mapping[str, Layout]) -> Dict[str, Tensor]:
    """Parameters and buffers of the network whose groups follow ``layouts`` (by group name); differentiable in bank and gains.

    New channels get scale 1 and shift 0 from a normalisation, copies get their original's. The weights between two new channels
    are zero, unless the bank has some.
    """
    state: Dict[str, Tensor] = dict(model.state_dict())
    for layer in _touched(graph):
        module, path = model.get_submodule(layer.path), layer.path
        if layer.kind == "mixing":
            wide = _widened_weight(matrix_view(module, size(layer.inputs, {})), layer, bank, layouts)
            state[f"{path}.weight"] = wide.flatten(1) if isinstance(module, nn.Linear) else wide.unflatten(2, module.kernel_size)
            fresh = {"bias": 0.0}
        else:
            fresh = {"weight": 1.0, "bias": 0.0, "running_mean": 0.0, "running_var": 1.0}
        for name, value in fresh.items():
            values = state.get(f"{path}.{name}")
            if values is not None and (layer.kind == "norm" or name == "bias"):
                row = ("running_mean", "running_var").index(name) if name.startswith("running") else None
                new = {
                    span.group: bank.new_stats[path, span.group][row]
                    for span in layer.outputs
                    if row is not None and span.group is not None and (path, span.group) in bank.new_stats
                }
                state[f"{path}.{name}"] = _picked(values, layer.outputs, layouts, new, value)
        if layer.kind == "grouped":
            filters = {span.group: bank.new_filters[path, span.group] for span in layer.outputs if span.group is not None}
            state[f"{path}.weight"] = _picked(state[f"{path}.weight"].flatten(2), layer.outputs, layouts, filters, 0.0).unflatten(
                2, module.kernel_size
            )
    return state


def _touched(graph: ChannelGraph) -> List[Layer]:
    """The layers on growable channels."""
    return [layer for layer in graph.layers.values() if any(span.group for span in layer.inputs + layer.outputs)]


def _picked(
    values: Tensor, spans: Sequence[Span], layouts: Mapping[str, Layout], new: Mapping[Any, Tensor], fresh: float
) -> Tensor:
    """Per-channel values (w, …) → (n, …): each span's existing and new ones (``fresh`` where ``new`` has none) as its layout
    says."""
    parts = []
    for span, own in zip(spans, values.split([span.width for span in spans])):
        if span.group is not None:
            layout = layouts[span.group]
            offered = new.get(span.group)
            if offered is None:
                count = max(0, int(layout.source.max()) + 1 - span.width)
                offered = own.new_full((count, *own.shape[1:]), fresh)
            own = torch.cat([own, offered])[layout.source]
        parts.append(own)
    return torch.cat(parts)


def _widened_weight(weight: Tensor, layer: Layer, bank: Bank, layouts: Mapping[str, Layout]) -> Tensor:
    """(w_o, w_i, rest) → (n_o, n_i, rest): [[W ± v, new columns], [new rows, new links]], rows and columns as the layouts say."""
    out = layouts[layer.outputs[0].group] if layer.outputs[0].group else None
    wide = weight
    if out is not None:
        rows, split = bank.new_rows[layer.path], bank.split[layer.path]
        signed = torch.cat([split, torch.zeros_like(rows)])[out.source]
        wide = torch.cat([weight, rows])[out.source] + out.sign[:, None, None] * signed
    parts = []
    for span, part in zip(layer.inputs, wide.split([span.width for span in layer.inputs], dim=1)):
        if span.group is not None:
            into, columns = layouts[span.group], bank.new_columns[layer.path, span.group]
            if out is not None:
                links = bank.new_links.get((layer.path, span.group))
                if links is None:
                    links = columns.new_zeros((len(bank.new_rows[layer.path]), *columns.shape[1:]))
                columns = torch.cat([columns, links])[out.source]
            part = torch.cat([part, columns], dim=1)[:, into.source] * into.gain[:, None]
        parts.append(part)
    return torch.cat(parts, dim=1)


def widened_model(model: nn.Module, graph: ChannelGraph, bank: Bank, layouts: Mapping[str, Layout]) -> nn.Module:
    """The grown network itself: a new module of the same class, in the same train or eval mode, with its own weights."""
    state = widened_state(model, graph, bank, layouts)
    grown = widened_shell(model, graph, layouts)
    for layer in _touched(graph):  # all else is as it was, tied weights and buffers that are not saved included
        module = grown.get_submodule(layer.path)
        for name, parameter in module._parameters.items():
            if parameter is not None:
                fresh = state[f"{layer.path}.{name}"].detach().clone().contiguous()
                module._parameters[name] = nn.Parameter(fresh, requires_grad=parameter.requires_grad)
        for name, buffer in module._buffers.items():
            if buffer is not None:
                module._buffers[name] = state[f"{layer.path}.{name}"].detach().clone()
    return grown


def widened_shell(model: nn.Module, graph: ChannelGraph, layouts: Mapping[str, Layout]) -> nn.Module:
    """A copy whose layers carry the new channel counts, still with the old weights: for `torch.func.functional_call`."""
    shell = copy.deepcopy(model)
    widths = {name: len(layout.source) for name, layout in layouts.items()}
    for layer in _touched(graph):
        _set_channels(shell.get_submodule(layer.path), size(layer.inputs, widths), size(layer.outputs, widths), layer.features)
    return shell


def _set_channels(module: nn.Module, into: int, out: int, features: int) -> None:
    if isinstance(module, nn.Conv2d):
        if module.groups > 1:
            module.groups = out // (module.out_channels // module.groups)
        module.in_channels, module.out_channels = into, out
    elif isinstance(module, nn.Linear):
        module.in_features, module.out_features = into * features, out
    elif isinstance(module, nn.GroupNorm):
        module.num_groups = out // (module.num_channels // module.num_groups)
        module.num_channels = out
    elif isinstance(module, nn.LayerNorm):
        module.normalized_shape = (out,)
    else:
        module.num_features = out  # type: ignore[assignment]
