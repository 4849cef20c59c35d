"""Which channels move together: channel groups, found by tracing a network with torch.fx."""

from __future__ import annotations

import operator
from dataclasses import dataclass, field
from typing import Any, Dict, List, Optional, Set, Tuple

import torch
import torch.nn.functional as F
from torch import fx, nn

from gearnn.errors import UserError

_PASSING_MODULES = (
    nn.ReLU,
    nn.ReLU6,
    nn.LeakyReLU,
    nn.SiLU,
    nn.GELU,
    nn.Hardswish,
    nn.Identity,
    nn.Dropout,
    nn.Dropout2d,
    nn.MaxPool2d,
    nn.AvgPool2d,
    nn.AdaptiveAvgPool2d,
    nn.AdaptiveMaxPool2d,
    nn.Flatten,
)
_PASSING_FUNCTIONS = (
    F.relu,
    F.relu6,
    F.silu,
    F.gelu,
    torch.relu,
    torch.flatten,
    F.adaptive_avg_pool2d,
    F.max_pool2d,
    F.avg_pool2d,
)
_PASSING_METHODS = ("flatten", "relu", "contiguous", "clone")
_ADDITIONS = (operator.add, operator.iadd, torch.add)


@dataclass(frozen=True)
class ChannelGroup:
    """Channels that can only be added together.

    ``producers`` write them (several where a residual stream is summed), ``norms`` normalise them, ``followers`` are
    the depthwise convolutions on them, ``consumers`` read them. All are module paths. ``width`` is their number.
    """

    name: str
    width: int
    producers: Tuple[str, ...]
    norms: Tuple[str, ...]
    followers: Tuple[str, ...]
    consumers: Tuple[str, ...]


@dataclass(frozen=True)
class ChannelGraph:
    """The growable groups of a network, in forward order, and what is left as it is, with the reason."""

    groups: Tuple[ChannelGroup, ...]
    fixed: Dict[str, str]

    def group(self, name: str) -> ChannelGroup:
        return next(group for group in self.groups if group.name == name)

    def output_of(self) -> Dict[str, str]:
        """Module path → the group it writes, normalises or filters."""
        return {layer: group.name for group in self.groups for layer in group.producers + group.norms + group.followers}

    def input_of(self) -> Dict[str, str]:
        """Module path → the group it reads."""
        return {layer: group.name for group in self.groups for layer in group.consumers}


@dataclass
class _Draft:
    producers: List[str] = field(default_factory=list)
    norms: List[str] = field(default_factory=list)
    followers: List[str] = field(default_factory=list)
    consumers: List[str] = field(default_factory=list)
    fixed: Optional[str] = None

    def absorb(self, other: _Draft) -> None:
        for name in ("producers", "norms", "followers", "consumers"):
            getattr(self, name).extend(getattr(other, name))
        self.fixed = self.fixed or other.fixed


def trace_channels(model: nn.Module) -> ChannelGraph:
    """Find the channel groups of a convolutional network.

    Understands Conv2d (plain and depthwise), BatchNorm2d, Linear, additions, activations, poolings and flattening.
    Channels that meet anything else are left as they are and named in ``fixed``.

    Raises:
        UserError: if torch.fx cannot trace the model (for example, because its control flow depends on the data).
    """
    try:
        traced = fx.symbolic_trace(model)
    except Exception as error:
        raise UserError(
            f"this network cannot be traced for growth ({error}): make its forward free of data-dependent branches"
        ) from error
    return _Walk(dict(model.named_modules())).run(traced.graph)


class _Walk:
    """One pass over the traced graph; every value is given the draft of the group that its channels belong to."""

    def __init__(self, modules: Dict[str, nn.Module]) -> None:
        self.modules = modules
        self.drafts: List[_Draft] = []
        self.of_value: Dict[fx.Node, _Draft] = {}
        self.seen: Set[str] = set()

    def run(self, graph: fx.Graph) -> ChannelGraph:
        for node in graph.nodes:
            self.visit(node)
        groups = tuple(self.finish(draft) for draft in self.drafts if draft.producers and draft.fixed is None)
        fixed = {layer: draft.fixed for draft in self.drafts if draft.fixed for layer in draft.producers}
        return ChannelGraph(groups, fixed)

    def visit(self, node: fx.Node) -> None:
        inputs = [self.of_value[value] for value in node.all_input_nodes if value in self.of_value]
        if node.op == "output":
            for draft in inputs:
                draft.fixed = "its channels are the network's outputs"
        elif node.op == "placeholder":
            self.of_value[node] = self.new(fixed="its channels are the network's inputs")
        elif node.op == "call_module" and len(inputs) == 1:
            self.of_value[node] = self.through_module(str(node.target), inputs[0])
        elif node.op == "call_function" and node.target in _ADDITIONS and len(inputs) == 2:
            self.of_value[node] = self.merge(inputs[0], inputs[1])
        elif inputs and _passes(node):
            self.of_value[node] = inputs[0]
        elif inputs:
            for draft in inputs:
                draft.fixed = draft.fixed or f"its channels pass through {node.target}, which growth does not know"
            self.of_value[node] = inputs[0]

    def through_module(self, name: str, draft: _Draft) -> _Draft:
        module = self.modules[name]
        if isinstance(module, _PASSING_MODULES):
            return draft
        if name in self.seen:
            draft.fixed = draft.fixed or f"its channels are read by {name}, which is used more than once"
            return self.new(fixed=f"its channels come from {name}, which is used more than once")
        self.seen.add(name)
        if isinstance(module, nn.BatchNorm2d) and module.affine and module.track_running_stats:
            draft.norms.append(name)
            return draft
        if isinstance(module, nn.Conv2d) and module.groups == module.in_channels == module.out_channels:
            draft.followers.append(name)
            return draft
        if isinstance(module, nn.Linear) or (isinstance(module, nn.Conv2d) and module.groups == 1):
            draft.consumers.append(name)
            return self.new(producer=name)
        draft.fixed = draft.fixed or f"its channels are read by {name} ({type(module).__name__}), which growth does not know"
        return self.new(fixed=f"its channels come from {name} ({type(module).__name__}), which growth does not know")

    def new(self, producer: Optional[str] = None, fixed: Optional[str] = None) -> _Draft:
        draft = _Draft(producers=[producer] if producer else [], fixed=fixed)
        self.drafts.append(draft)
        return draft

    def merge(self, left: _Draft, right: _Draft) -> _Draft:
        if left is right:
            return left
        # The earlier one leads, so that groups keep the order of the forward pass and the name of their first producer.
        left, right = sorted((left, right), key=lambda draft: next(i for i, known in enumerate(self.drafts) if known is draft))
        left.absorb(right)
        self.drafts = [draft for draft in self.drafts if draft is not right]
        self.of_value = {node: left if draft is right else draft for node, draft in self.of_value.items()}
        return left

    def finish(self, draft: _Draft) -> ChannelGroup:
        width = self.modules[draft.producers[0]].weight.shape[0]  # type: ignore[index]
        members = (tuple(draft.producers), tuple(draft.norms), tuple(draft.followers), tuple(draft.consumers))
        return ChannelGroup(draft.producers[0], int(width), *members)


def _passes(node: fx.Node) -> bool:
    target: Any = node.target
    return (node.op == "call_function" and target in _PASSING_FUNCTIONS) or (
        node.op == "call_method" and target in _PASSING_METHODS
    )
