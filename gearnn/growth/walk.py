"""One pass over a traced network that follows every channel: which layers write it, filter it, normalise it and read it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any, Dict, List, Optional, Sequence, Set, Tuple

import torch
from torch import fx, nn

from gearnn.growth.graph import ChannelGraph, ChannelGroup, Layer, Span, Value
from gearnn.growth.operations import PASSING_FUNCTIONS, PASSING_METHODS, PASSING_MODULES, RESHAPES, argument, merges, new_axis

_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.InstanceNorm2d, nn.GroupNorm, nn.LayerNorm)


@dataclass
class _Draft:
    """A group in the making; ``parent`` leads to the one it was merged into."""

    width: int
    order: int
    members: Dict[str, List[str]] = field(
        default_factory=lambda: {"producers": [], "norms": [], "followers": [], "consumers": []}
    )
    blocks: List[int] = field(default_factory=list)
    whole: bool = False
    fixed: Optional[str] = None
    parent: Optional[_Draft] = None

    def root(self) -> _Draft:
        return self if self.parent is None else self.parent.root()


@dataclass(frozen=True)
class _Flow:
    """The channels of a value: drafts in order along ``axis``, each channel with ``features`` entries there."""

    drafts: Tuple[_Draft, ...]
    axis: int = 1
    features: int = 1

    def width(self) -> int:
        return sum(draft.width for draft in self.drafts)


class Walk:
    """The state of the pass; ``run`` makes it."""

    def __init__(self, modules: Dict[str, nn.Module]) -> None:
        self.modules = modules
        self.drafts: List[_Draft] = []
        self.flows: Dict[fx.Node, _Flow] = {}
        self.layers: Dict[str, Tuple[str, _Flow, _Flow, int]] = {}  # kind, inputs, outputs, positions
        self.seen: Set[str] = set()

    def run(self, graph: fx.Graph) -> ChannelGraph:
        for node in graph.nodes:
            flow = self.visit(node)
            if flow is not None and _shape(node) is not None:
                self.flows[node] = flow
        for draft in self.drafts:
            if draft.parent is None and draft.fixed is None and not draft.members["consumers"]:
                draft.fixed = "no layer reads them"
        roots = [draft for draft in self.drafts if draft.parent is None and draft.members["producers"]]
        groups = tuple(_finished(draft) for draft in roots if draft.fixed is None)
        fixed = {layer: draft.fixed for draft in roots if draft.fixed for layer in draft.members["producers"]}
        layers = {
            path: Layer(path, kind, _spans(into), _spans(out), into.features, positions)
            for path, (kind, into, out, positions) in self.layers.items()
        }
        return ChannelGraph(groups, fixed, layers, tuple(self.value(node) for node in graph.nodes if _shape(node)))

    def value(self, node: fx.Node) -> Value:
        shape = _shape(node)
        assert shape is not None
        elements = math.prod(shape[1:])
        flow = self.flows.get(node)
        module = node.op == "call_module"
        operation = "input" if node.op == "placeholder" else getattr(node.target, "__name__", str(node.target))
        return Value(
            name=node.name,
            operation=type(self.modules[str(node.target)]).__name__ if module else operation,
            layer=str(node.target) if module else None,
            spans=_spans(flow) if flow else (),
            positions=elements // flow.width() if flow else elements,
            elements=elements,
            inputs=tuple(source.name for source in node.all_input_nodes if _shape(source)),
        )

    def visit(self, node: fx.Node) -> Optional[_Flow]:
        """The channels of a node's value; None where it carries none."""
        inputs = [self.flows[source] for source in node.all_input_nodes if source in self.flows]
        shape = _shape(node)
        if node.op == "output":
            self.fix(inputs, "they are the network's outputs")
        elif node.op == "placeholder" and shape and len(shape) > 1:
            return self.new(shape[1], fixed="they are the network's inputs")
        elif node.op == "call_module" and len(inputs) == 1:
            return self.through_module(str(node.target), inputs[0], node)
        elif inputs and shape is not None:
            flow = self.through_function(node, inputs)
            return flow or self.unknown(inputs, node, f"they pass through {_name(node)}, which growth does not know")
        return None

    def through_function(self, node: fx.Node, inputs: List[_Flow]) -> Optional[_Flow]:
        target: Any = node.target
        if target in (torch.cat, torch.concat):
            same = len({(flow.axis, flow.features) for flow in inputs}) == 1
            if same and argument(node, 1, "dim", 0) in (inputs[0].axis, inputs[0].axis - len(_shape(node) or ())):
                flow = replace(inputs[0], drafts=tuple(draft for flow in inputs for draft in flow.drafts))
                if len({id(draft.root()) for draft in flow.drafts}) < len(flow.drafts):
                    self.fix([flow], "they appear twice in a concatenation")
                return flow
            return None
        if merges(target):
            return self.merge(inputs, node)
        if len(inputs) != 1:
            return None
        flow = inputs[0]
        if target in PASSING_FUNCTIONS or target in PASSING_METHODS:
            return flow if _shape(node)[: flow.axis + 1] == _source_shape(node)[: flow.axis + 1] else None  # type: ignore[index]
        return self.reshaped(flow, node) if target in RESHAPES else None

    def reshaped(self, flow: _Flow, node: fx.Node) -> Optional[_Flow]:
        """The same channels elsewhere: flattened, moved to another axis, or with positions reduced."""
        before, after = _source_shape(node), _shape(node)
        assert before is not None and after is not None
        axis = new_axis(node, flow.axis, len(before))
        if axis is not None:
            return replace(flow, axis=axis)
        if flow.axis != 1 or len(after) < 2 or before[0] != after[0]:
            return None
        if any(isinstance(size, int) and size > 1 for size in _sizes(node)[1:2]):
            return None  # a size written into the code would be wrong after growth
        if after[1] == before[1]:
            return flow
        if len(after) == 2 and after[1] == math.prod(before[1:]):
            return replace(flow, features=flow.features * math.prod(before[2:]))
        return None

    def through_module(self, name: str, flow: _Flow, node: fx.Node) -> _Flow:
        module = self.modules[name]
        shape, before = _shape(node) or (), _source_shape(node) or ()
        if isinstance(module, nn.Flatten):
            return self.reshaped(flow, node) or self.unknown([flow], node, f"they are flattened by {name} in another order")
        if isinstance(module, PASSING_MODULES) or (isinstance(module, nn.PReLU) and module.num_parameters == 1):
            return flow
        kind = _kind(module)
        reading = replace(flow, drafts=flow.drafts)
        width = flow.width()
        if kind == "unknown":
            return self.unknown([flow], node, f"they are read by {name} ({type(module).__name__}), which growth does not know")
        last = isinstance(module, (nn.Linear, nn.LayerNorm))
        out = flow if kind != "mixing" else self.new(shape[-1 if last else 1], producer=name, axis=len(shape) - 1 if last else 1)
        again = name in self.seen
        if again:
            known, reading, written, positions = self.layers[name]
            self.layers[name] = (known, reading, written, positions + _positions(shape, out.axis))
            self.fix([flow, written, out], f"{name} is used more than once")
            return out
        self.seen.add(name)
        self.layers[name] = (kind, reading, out, _positions(shape, out.axis))
        if flow.axis != (len(before) - 1 if last else 1) or (flow.features > 1 and kind != "mixing"):
            self.fix([flow, out], f"{name} reads along another axis")
        if any(not parameter.requires_grad for parameter in module.parameters()):
            self.fix([flow, out], f"{name} is frozen")
        role = {"mixing": "consumers", "grouped": "followers", "norm": "norms"}[kind]
        for draft in flow.drafts:
            draft.root().members[role].append(name)
        groups = getattr(module, "groups", None) or getattr(module, "num_groups", None)
        if kind != "mixing" and groups and groups < width:
            if len(flow.drafts) > 1:
                self.fix([flow], f"{name} groups channels of several layers")
            flow.drafts[0].root().blocks.append(width // groups)
        if isinstance(module, nn.LayerNorm):
            if len(flow.drafts) > 1 or tuple(module.normalized_shape) != (width,):
                self.fix([flow], f"{name} normalises over more than the channels of one layer")
            flow.drafts[0].root().whole = True
        return out

    def merge(self, inputs: List[_Flow], node: fx.Node) -> Optional[_Flow]:
        """A sum or a product, channel by channel; a single channel is broadcast over those of the others."""
        tensors = [source for source in node.all_input_nodes if _shape(source)]
        if len(tensors) != len(inputs):
            return None  # a parameter or another value without channels takes part
        widest = max(inputs, key=_Flow.width)
        for other in inputs:
            if other.width() == 1 < widest.width():
                self.fix([other], f"a single channel is broadcast by {_name(node)}")
                continue
            shapes = [len(_shape(source) or ()) - self.flows[source].axis for source in tensors]
            alike = [draft.width for draft in other.drafts] == [draft.width for draft in widest.drafts]
            if not alike or other.features != widest.features or len(set(shapes)) > 1:
                return None
            for left, right in zip(widest.drafts, other.drafts):
                _union(left.root(), right.root())
        return widest

    def unknown(self, inputs: Sequence[_Flow], node: fx.Node, reason: str) -> _Flow:
        self.fix(inputs, reason)
        shape = _shape(node) or ()
        return self.new(shape[1] if len(shape) > 1 else 1, fixed=f"they come from {_name(node)}, which growth does not know")

    def fix(self, flows: Sequence[_Flow], reason: str) -> None:
        for flow in flows:
            for draft in flow.drafts:
                draft.root().fixed = draft.root().fixed or reason

    def new(self, width: int, producer: Optional[str] = None, fixed: Optional[str] = None, axis: int = 1) -> _Flow:
        draft = _Draft(width, len(self.drafts), fixed=fixed)
        if producer:
            draft.members["producers"].append(producer)
        self.drafts.append(draft)
        return _Flow((draft,), axis)


def _union(left: _Draft, right: _Draft) -> None:
    """Merge two drafts into the earlier one, so that groups keep the order of the forward pass."""
    if left is right:
        return
    left, right = (left, right) if left.order < right.order else (right, left)
    for role, names in right.members.items():
        left.members[role] += names
    left.blocks += right.blocks
    left.whole = left.whole or right.whole
    left.fixed = left.fixed or right.fixed
    right.parent = left


def _finished(draft: _Draft) -> ChannelGroup:
    block = draft.width if draft.whole else _lcm(draft.blocks)
    members = {role: tuple(dict.fromkeys(names)) for role, names in draft.members.items()}
    return ChannelGroup(members["producers"][0], draft.width, block, draft.whole, **members)


def _lcm(numbers: Sequence[int]) -> int:
    result = 1
    for number in numbers:
        result = result * number // math.gcd(result, number)
    return result


def _spans(flow: _Flow) -> Tuple[Span, ...]:
    roots = [draft.root() for draft in flow.drafts]
    return tuple(Span(None if root.fixed else root.members["producers"][0], root.width) for root in roots)


def _kind(module: nn.Module) -> str:
    if isinstance(module, nn.Conv2d) and type(module) is nn.Conv2d:
        if module.groups == 1:
            return "mixing"
        return "grouped" if module.in_channels == module.out_channels else "unknown"
    if type(module) is nn.Linear:
        return "mixing"
    return "norm" if type(module) in _NORMS else "unknown"


def _shape(node: fx.Node) -> Optional[Tuple[int, ...]]:
    """The shape of a node's value, if that is one tensor."""
    found = node.meta.get("tensor_meta")
    return tuple(int(side) for side in found.shape) if hasattr(found, "shape") and node.op not in ("get_attr", "output") else None


def _source_shape(node: fx.Node) -> Optional[Tuple[int, ...]]:
    return next((_shape(source) for source in node.all_input_nodes if _shape(source)), None)


def _positions(shape: Sequence[int], axis: int) -> int:
    return math.prod(shape[1:]) // shape[axis]


def _sizes(node: fx.Node) -> Sequence[Any]:
    """The sizes that a view or reshape was given."""
    if node.target not in ("view", "reshape", torch.reshape):
        return ()
    given = node.args[1:]
    return given[0] if len(given) == 1 and isinstance(given[0], (tuple, list)) else given


def _name(node: fx.Node) -> str:
    return getattr(node.target, "__name__", str(node.target))
