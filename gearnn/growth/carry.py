"""What an optimizer needs to know after growth: where the old weights are now, and which weights are newborn."""

from __future__ import annotations

from typing import Dict, Mapping, Sequence

import torch
from torch import Tensor, nn

from gearnn.growth.graph import ChannelGraph, Span, size

Widths = Mapping[str, int]


def old_channels(spans: Sequence[Span], widths: Widths) -> Tensor:
    """Where the existing channels of a tensor are once its groups have the new ``widths``: int64; surgery appends to each
    span."""
    found, offset = [], 0
    for span in spans:
        found.append(torch.arange(offset, offset + span.width))
        offset += size([span], widths)
    return torch.cat(found)


def newborn_channels(spans: Sequence[Span], group: str, widths: Widths) -> Tensor:
    """Where the new channels of one group are: int64, in the order in which they were appended."""
    offset = 0
    for span in spans:
        if span.group == group:
            return torch.arange(offset + span.width, offset + widths[group])
        offset += size([span], widths)
    raise KeyError(group)


def newborn_weights(graph: ChannelGraph, grown: nn.Module, widths: Widths) -> Dict[str, Tensor]:
    """Parameter name → bool mask of its shape, True for weights that came with growth; parameters without any are left out."""
    masks = {}
    for name, parameter in grown.named_parameters():
        mask = torch.ones(parameter.shape, dtype=torch.bool, device=parameter.device)
        _write_old(mask, torch.zeros((), dtype=torch.bool, device=mask.device), graph, name, widths)
        if mask.any():
            masks[name] = mask
    return masks


def carried_momentum(graph: ChannelGraph, momentum: Mapping[str, Tensor], grown: nn.Module, widths: Widths) -> Dict[str, Tensor]:
    """Momentum buffers by parameter name, for the grown network: kept for old weights, zero for newborn ones."""
    carried = {}
    for name, parameter in grown.named_parameters():
        if name in momentum:
            carried[name] = torch.zeros_like(parameter, dtype=momentum[name].dtype, memory_format=torch.contiguous_format)
            _write_old(carried[name], momentum[name], graph, name, widths)
    return carried


def _write_old(tensor: Tensor, values: Tensor, graph: ChannelGraph, name: str, widths: Widths) -> None:
    """Write ``values``, shaped as the parameter was before growth or a scalar, where its old weights are in ``tensor``."""
    path, _, kind = name.rpartition(".")
    layer = graph.layers.get(path)
    if layer is None:
        tensor[...] = values
        return
    rows = old_channels(layer.outputs, widths).to(tensor.device)
    if layer.kind != "mixing" or kind != "weight":
        tensor[rows] = values
        return
    columns = old_channels(layer.inputs, widths).to(tensor.device)
    matrix = tensor.view(len(tensor), size(layer.inputs, widths), -1)
    matrix[rows[:, None], columns] = values.reshape(len(rows), len(columns), -1) if values.dim() else values
