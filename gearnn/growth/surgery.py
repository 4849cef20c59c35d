"""Widen a network: one formula gives its weights while candidates are trained, while they are scored, and once they are grown.

A *bank* holds, for each layer, the present weights and those of all candidates. A *layout* says, for each channel of a
group, where in the bank it comes from. Because training, scoring and the final surgery differ only in their layouts, what
is grown is what was scored.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Dict, List, Mapping, Optional

import torch
from torch import Tensor, nn

from gearnn.growth.graph import ChannelGraph, ChannelGroup


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


@dataclass(frozen=True)
class Bank:
    """Candidate weights by layer path, each as float32 (out, in, rest); existing weights are kept apart, in the model.

    With w existing and K new channels on a layer's output (o) and input (i) side:

    Attributes:
        split: producer → (w_o, w_i, rest), the direction v along which each existing neuron is split.
        new_rows: producer → (K_o, w_i, rest), the incoming weights of new neurons.
        new_columns: consumer → (w_o, K_i, rest), their outgoing weights.
        new_filters: depthwise follower → (K, 1, rest), their spatial filters.
    """

    split: Dict[str, Tensor]
    new_rows: Dict[str, Tensor]
    new_columns: Dict[str, Tensor]
    new_filters: Dict[str, Tensor]

    def tensors(self) -> List[Tensor]:
        """All candidate weights."""
        return [tensor for part in (self.split, self.new_rows, self.new_columns, self.new_filters) for tensor in part.values()]


def matrix_view(module: nn.Module, in_channels: Optional[int]) -> Tensor:
    """A conv or linear weight as (out, in, rest); behind a flattening, a linear layer reads several features per channel."""
    weight: Tensor = module.weight.detach()  # type: ignore[operator]
    return weight.reshape(weight.shape[0], in_channels or weight.shape[1], -1)


def widened_state(model: nn.Module, graph: ChannelGraph, bank: Bank, layouts: Mapping[str, Layout]) -> Dict[str, Tensor]:
    """Parameters and buffers of the network whose groups follow ``layouts`` (by group name); differentiable in bank and gains.

    New channels get BatchNorm scale 1, shift 0, mean 0 and variance 1; copies get their original's. The weights between two
    new channels are zero.
    """
    state: Dict[str, Tensor] = dict(model.state_dict())
    widths = {group.name: group.width for group in graph.groups}
    outputs, inputs = graph.output_of(), graph.input_of()
    for layer in {**outputs, **inputs}:
        module = model.get_submodule(layer)
        out = layouts[outputs[layer]] if layer in outputs else None
        into = layouts[inputs[layer]] if layer in inputs else None
        if isinstance(module, nn.BatchNorm2d):
            assert out is not None
            for name, fresh in (("weight", 1.0), ("bias", 0.0), ("running_mean", 0.0), ("running_var", 1.0)):
                state[f"{layer}.{name}"] = _pick(state[f"{layer}.{name}"], out, fresh)
            continue
        weight = matrix_view(module, widths.get(inputs.get(layer, "")))
        if layer in bank.new_filters and out is not None:
            wide = torch.cat([weight, bank.new_filters[layer]])[out.source]
        else:
            wide = _widened_weight(weight, layer, bank, out, into)
        state[f"{layer}.weight"] = wide.flatten(1) if isinstance(module, nn.Linear) else wide.unflatten(2, module.kernel_size)
        if out is not None and f"{layer}.bias" in state:
            state[f"{layer}.bias"] = _pick(state[f"{layer}.bias"], out, 0.0)
    return state


def _pick(values: Tensor, layout: Layout, fresh: float) -> Tensor:
    """Per-channel values (w,) → (n,), with ``fresh`` for new channels."""
    known = layout.source < len(values)
    return torch.where(known, values[layout.source.clamp(max=len(values) - 1)], torch.full_like(values[:1], fresh))


def _widened_weight(weight: Tensor, layer: str, bank: Bank, out: Optional[Layout], into: Optional[Layout]) -> Tensor:
    """(w_o, w_i, rest) → (n_o, n_i, rest): rows and columns of [[W ± v, new columns], [new rows, 0]] as the layouts say."""
    columns = bank.new_columns.get(layer)
    if out is not None:
        rows, split = bank.new_rows[layer], bank.split[layer]
        weight = (
            torch.cat([weight, rows])[out.source]
            + out.sign[:, None, None] * torch.cat([split, torch.zeros_like(rows)])[out.source]
        )
        if columns is not None:
            columns = torch.cat([columns, columns.new_zeros((len(rows), *columns.shape[1:]))])[out.source]
    if into is not None and columns is not None:
        weight = torch.cat([weight, columns], dim=1)[:, into.source] * into.gain[:, None]
    return weight


def widened_model(model: nn.Module, graph: ChannelGraph, bank: Bank, layouts: Mapping[str, Layout]) -> nn.Module:
    """The grown network itself: a new module of the same class, in the same train or eval mode, with its own weights."""
    state = widened_state(model, graph, bank, layouts)
    grown = widened_shell(model, graph, layouts)
    for path, module in grown.named_modules():
        for name in list(module._parameters):
            parameter = module._parameters[name]
            if parameter is not None:
                fresh = state[f"{path}.{name}" if path else name].detach().clone().contiguous()
                module._parameters[name] = nn.Parameter(fresh, requires_grad=parameter.requires_grad)
        for name in list(module._buffers):
            if module._buffers[name] is not None:
                module._buffers[name] = state[f"{path}.{name}" if path else name].detach().clone()
    return grown


def widened_shell(model: nn.Module, graph: ChannelGraph, layouts: Mapping[str, Layout]) -> nn.Module:
    """A copy whose layers carry the new channel counts, still with the old weights: for `torch.func.functional_call`."""
    shell = copy.deepcopy(model)
    for group in graph.groups:
        count = len(layouts[group.name].source)
        for layer in group.producers + group.norms + group.followers + group.consumers:
            _set_channels(shell.get_submodule(layer), layer, group, count)
    return shell


def _set_channels(module: nn.Module, layer: str, group: ChannelGroup, count: int) -> None:
    if isinstance(module, nn.BatchNorm2d):
        module.num_features = count
    elif layer in group.followers and isinstance(module, nn.Conv2d):
        module.in_channels = module.out_channels = module.groups = count
    elif isinstance(module, nn.Conv2d):
        if layer in group.producers:
            module.out_channels = count
        if layer in group.consumers:
            module.in_channels = count
    elif isinstance(module, nn.Linear):
        if layer in group.producers:
            module.out_features = count
        if layer in group.consumers:
            module.in_features = count * (module.in_features // group.width)


def carried_momentum(momentum: Mapping[str, Tensor], grown: nn.Module) -> Dict[str, Tensor]:
    """Momentum buffers by parameter name, for the grown network: kept for old weights, zero for newborn ones.

    Surgery appends channels, so the old weights are the leading block of every grown tensor. After flattening, the features
    of a channel stay together and the block still leads.
    """
    carried = {}
    for name, parameter in grown.named_parameters():
        if name in momentum:
            carried[name] = torch.zeros_like(parameter)
            block = tuple(slice(0, size) for size in momentum[name].shape)
            carried[name][block] = momentum[name]
    return carried
