"""A network at other widths with fresh weights: what it costs can be measured before it is grown."""

from __future__ import annotations

from typing import Mapping, Tuple

import torch
from torch import nn

from gearnn.growth.graph import ChannelGraph
from gearnn.growth.surgery import Layout, widened_shell


def blank_model(model: nn.Module, graph: ChannelGraph, widths: Mapping[str, int]) -> nn.Module:
    """The network at other group widths, with fresh random weights: to be measured, not used. Other layers keep theirs.

    Torch's generators are left as they were.
    """
    counts = {**graph.widths(), **widths}
    nothing = torch.zeros(0)
    layouts = {name: Layout(torch.zeros(count, dtype=torch.int64), nothing, nothing) for name, count in counts.items()}
    blank = widened_shell(model, graph, layouts)
    with torch.random.fork_rng(sorted({parameter.get_device() for parameter in model.parameters() if parameter.is_cuda})):
        for path in graph.layers:
            module = blank.get_submodule(path)
            for name, parameter in module._parameters.items():
                if parameter is not None:
                    module._parameters[name] = nn.Parameter(parameter.new_empty(_wanted_shape(module, parameter.dim())))
            for name, buffer in module._buffers.items():
                if buffer is not None and buffer.dim():
                    module._buffers[name] = buffer.new_empty(_wanted_shape(module, buffer.dim()))
            module.reset_parameters()  # type: ignore[operator]
    return blank


def _wanted_shape(module: nn.Module, dims: int) -> Tuple[int, ...]:
    """Of a layer's tensor, from the channel counts that the layer states."""
    if isinstance(module, nn.Conv2d):
        full = (module.out_channels, module.in_channels // module.groups, *module.kernel_size)
        return full[:dims]
    if isinstance(module, nn.Linear):
        return (module.out_features, module.in_features)[:dims]
    if isinstance(module, nn.GroupNorm):
        return (module.num_channels,)
    if isinstance(module, nn.LayerNorm):
        return tuple(module.normalized_shape)
    return (int(module.num_features),)  # type: ignore[arg-type]
