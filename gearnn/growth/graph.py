"""Which channels move together: channel groups, and what every layer and every operation makes of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Dict, Iterable, Mapping, Optional, Tuple

from torch import Tensor, nn

from gearnn.growth.tracing import traced


@dataclass(frozen=True)
class Span:
    """Consecutive channels of a tensor: ``width`` of them in the network as traced, of a group or (None) of no growable one."""

    group: Optional[str]
    width: int


@dataclass(frozen=True)
class ChannelGroup:
    """Channels that can only be added together.

    Attributes:
        name: the path of the first layer that writes them.
        width: their number in the network as traced.
        block: they come in multiples of this: the size of a group of a grouped convolution or of GroupNorm.
        whole: a LayerNorm runs over them, so that only copies of all of them at once keep its mean and variance; ``block`` is
            ``width`` then.
        producers: module paths of the layers that write them (several where a residual stream is summed or a gate multiplied).
        norms: of the layers that normalise them.
        followers: of the depthwise and grouped convolutions on them.
        consumers: of the layers that read them.
    """

    name: str
    width: int
    block: int
    whole: bool
    producers: Tuple[str, ...]
    norms: Tuple[str, ...]
    followers: Tuple[str, ...]
    consumers: Tuple[str, ...]


@dataclass(frozen=True)
class Layer:
    """A convolution, linear or normalisation layer.

    Attributes:
        kind: "mixing" (Conv2d, Linear), "grouped" (a convolution with as many outputs as inputs and several groups, such as
            a depthwise one), or "norm".
        features: of a linear layer behind a flattening, input features per channel.
        positions: output positions per image (height · width), summed over its uses.
    """

    path: str
    kind: str
    inputs: Tuple[Span, ...]
    outputs: Tuple[Span, ...]
    features: int = 1
    positions: int = 1


@dataclass(frozen=True)
class Value:
    """What one operation writes.

    Attributes:
        name: unique in the network.
        operation: "input", the class of a module ("Conv2d"), or the name of a function ("add").
        layer: the module's path, for a module.
        spans: its channels; empty where they are not known.
        positions: elements per channel and image.
        elements: per image, in the network as traced.
        inputs: names of the values that it reads.
    """

    name: str
    operation: str
    layer: Optional[str]
    spans: Tuple[Span, ...]
    positions: int
    elements: int
    inputs: Tuple[str, ...]


@dataclass(frozen=True)
class ChannelGraph:
    """A network's growable groups in forward order, its layers by path, and its values in forward order.

    ``fixed`` names the layers whose outputs are left as they are, with the reason.
    """

    groups: Tuple[ChannelGroup, ...]
    fixed: Dict[str, str]
    layers: Dict[str, Layer]
    values: Tuple[Value, ...]

    def group(self, name: str) -> ChannelGroup:
        return next(group for group in self.groups if group.name == name)

    def widths(self) -> Dict[str, int]:
        """The traced width of every group."""
        return {group.name: group.width for group in self.groups}


def size(spans: Iterable[Span], widths: Mapping[str, int]) -> int:
    """The channels of these spans where groups have other widths; groups not named keep theirs."""
    return sum(span.width if span.group is None else widths.get(span.group, span.width) for span in spans)


def trace_channels(model: nn.Module, example_input: Tensor) -> ChannelGraph:
    """Find the channel groups of a network by tracing it (torch.fx) and running it once on an example.

    Understands Conv2d (plain, depthwise, grouped), Linear, BatchNorm, GroupNorm, InstanceNorm, LayerNorm over channels, sums,
    products (gates), concatenations, activations, poolings, flattening and permutations. Channels that meet anything else are
    left as they are and named in ``fixed``, as are those of frozen or shared layers and the network's outputs.

    Args:
        example_input: (B, C, H, W), on the model's device.

    Raises:
        UserError: if the model does not run on the example, cannot be traced (its control flow depends on the data), or runs
            other layers in training; the message names the line.
    """
    from gearnn.growth.walk import Walk

    return Walk(dict(model.named_modules())).run(traced(model, example_input))
