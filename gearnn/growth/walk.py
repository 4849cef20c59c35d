"""One pass over a traced network that follows every channel: which layers write it, filter it, normalise it and read it."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Dict, Iterable, List, Optional, Sequence, Set, Tuple

import torch
from torch import fx, nn

from gearnn.growth.drafts import Draft, Flow, finished, spans, union
from gearnn.growth.graph import ChannelGraph, Layer, Value
from gearnn.growth.operations import (
    argument,
    counts_channels,
    layer_kind,
    merges,
    misfit,
    moves,
    name_of,
    new_axis,
    passes,
    reads_shape,
    reshapes,
    shape_of,
    written_sizes,
)


class Walk:
    """The state of the pass; ``run`` makes it."""

    def __init__(self, modules: Dict[str, nn.Module]) -> None:
        self.modules = modules
        self.drafts: List[Draft] = []
        self.flows: Dict[fx.Node, Flow] = {}
        self.layers: Dict[str, Tuple[str, Flow, Flow, int]] = {}  # kind, inputs, outputs, positions
        self.constants: Set[fx.Node] = set()  # made from parameters and buffers alone
        self.owners: Dict[int, List[str]] = {}
        for path, module in modules.items():
            for parameter in module._parameters.values():
                self.owners.setdefault(id(parameter), []).append(path)

    def run(self, graph: fx.Graph) -> ChannelGraph:
        for node in graph.nodes:
            flow = self.visit(node)
            if flow is not None:
                self.flows[node] = flow
        self.settle(str(node.target).rpartition(".")[0] for node in graph.nodes if node.op == "get_attr")
        roots = [draft for draft in self.drafts if draft.parent is None and draft.members["producers"]]
        groups = tuple(finished(draft) for draft in roots if draft.fixed is None)
        fixed = {layer: draft.fixed for draft in roots if draft.fixed for layer in draft.members["producers"]}
        layers = {
            path: Layer(path, kind, spans(into), spans(out), into.features, positions)
            for path, (kind, into, out, positions) in self.layers.items()
        }
        return ChannelGraph(groups, fixed, layers, tuple(self.value(node) for node in graph.nodes if _is_value(node)))

    def settle(self, used_elsewhere: Iterable[str]) -> None:
        """What only shows once all is seen."""
        for path in used_elsewhere:
            if path in self.layers:
                self.fix(self.layers[path][1:3], f"weights of {path} are used outside of it")
        for _, into, _, _ in self.layers.values():
            if len({id(draft.root()) for draft in into.drafts}) < len(into.drafts):
                self.fix([into], "they appear twice in a concatenation")
        for draft in self.drafts:
            if draft.parent is None and draft.fixed is None and not draft.members["consumers"]:
                draft.fixed = "no layer reads them"

    def value(self, node: fx.Node) -> Value:
        elements = math.prod((shape_of(node) or ())[1:])
        flow = self.flows.get(node)
        module = node.op == "call_module"
        return Value(
            name=node.name,
            operation=type(self.modules[str(node.target)]).__name__ if module else "input" if _is_input(node) else name_of(node),
            layer=str(node.target) if module else None,
            spans=spans(flow) if flow else (),
            positions=elements // flow.width() if flow else elements,
            elements=elements,
            inputs=tuple(source.name for source in node.all_input_nodes if _is_value(source)),
        )

    def visit(self, node: fx.Node) -> Optional[Flow]:
        """The channels of a node's value; None where it carries none."""
        inputs, shape = [self.flows[source] for source in node.all_input_nodes if source in self.flows], shape_of(node) or ()
        if node.op == "output":
            self.fix(inputs, "they are the network's outputs")
        elif node.op == "get_attr" or (node.all_input_nodes and self.constants.issuperset(node.all_input_nodes)):
            self.constants.add(node)
        elif node.op == "placeholder":
            return self.new(shape[1], fixed="they are the network's inputs") if len(shape) > 1 else None
        elif not reads_shape(node):
            flow, reason = self.through(node, inputs)
            if flow is not None and flow.axis < len(shape) and shape[flow.axis] == flow.width() * flow.features:
                return flow
            return self.unknown(inputs, node, reason)
        return None

    def through(self, node: fx.Node, inputs: List[Flow]) -> Tuple[Optional[Flow], str]:
        """What a node makes of channels, if growth knows; else why they cannot grow."""
        name, target = name_of(node), node.target
        tensors = [source for source in node.all_input_nodes if shape_of(source)]
        reason = f"they pass through {name}, which growth does not know"
        if node.op == "call_module":
            return self.through_module(str(target), inputs[0], node) if len(tensors) == len(inputs) == 1 else (None, reason)
        if target in (torch.cat, torch.concat):
            return self.concatenated(node), f"{name} joins them with other values or along another axis"
        if merges(target):
            constant = next((str(source.target) for source in tensors if source in self.constants), None)
            return self.merged(node, tensors), f"{constant} takes part in {name}" if constant else f"{name} joins unlike channels"
        if len(tensors) != 1 or not inputs:
            return None, reason
        flow, before = inputs[0], shape_of(tensors[0]) or ()
        if passes(target, flow.axis, before):
            return flow, reason
        if moves(node):
            axis = new_axis(node, flow.axis, before)
            return (None if axis is None else replace(flow, axis=axis)), f"{name} combines or moves them"
        return (
            (self.reshaped(flow, node, before), f"{name} gives them another order or size") if reshapes(node) else (None, reason)
        )

    def concatenated(self, node: fx.Node) -> Optional[Flow]:
        parts = [self.flows.get(part) for part in argument(node, 0, "tensors")]
        flows = [flow for flow in parts if flow is not None]
        if len(flows) < len(parts) or len({(flow.axis, flow.features) for flow in flows}) > 1:
            return None
        axis = flows[0].axis
        if argument(node, 1, "dim", 0) not in (axis, axis - len(shape_of(node) or ())):
            return None
        return replace(flows[0], drafts=tuple(draft for flow in flows for draft in flow.drafts))

    def reshaped(self, flow: Flow, node: fx.Node, before: Sequence[int]) -> Optional[Flow]:
        """The same channels with their positions in another shape, or flattened."""
        after = shape_of(node) or ()
        if flow.axis != 1 or len(after) < 2 or before[0] != after[0]:
            return None
        sizes = written_sizes(node)[1:]
        if any(isinstance(size, int) and size > 1 for size in sizes[:1]):
            return None  # a size written into the code would be wrong after growth
        if len(sizes) > 1 and not (counts_channels(sizes[0]) or (sizes[0] == -1 and not any(map(counts_channels, sizes)))):
            return None  # what stands there is as large as the channels only by chance
        if after[1] == before[1]:
            return flow
        if len(after) == 2 and after[1] == math.prod(before[1:]):
            return replace(flow, features=flow.features * math.prod(before[2:]))
        return None

    def through_module(self, name: str, flow: Flow, node: fx.Node) -> Tuple[Optional[Flow], str]:
        module = self.modules[name]
        shape, before = shape_of(node) or (), next(shape_of(source) or () for source in node.all_input_nodes)
        if isinstance(module, nn.Flatten):
            return self.reshaped(flow, node, before), f"{name} flattens them in another order"
        if passes(module, flow.axis, before):
            return flow, f"{name} changes their number"
        kind, last = layer_kind(module), isinstance(module, (nn.Linear, nn.LayerNorm))
        if kind is None:
            return None, f"they are read by {name}, {misfit(module) or 'which growth does not know'}"
        out = flow if kind != "mixing" else self.new(shape[-1 if last else 1], producer=name, axis=len(shape) - 1 if last else 1)
        if name in self.layers:
            _, reading, written, positions = self.layers[name]
            self.layers[name] = (kind, reading, written, positions + _positions(shape, out.axis))
            self.fix([flow, reading, written, out], f"{name} is used more than once")
            return out, ""
        self.layers[name] = (kind, flow, out, _positions(shape, out.axis))
        self.check(name, kind, flow, out, len(before) - 1 if last else 1)
        role = {"mixing": "consumers", "grouped": "followers", "norm": "norms"}[kind]
        for draft in flow.drafts:
            draft.root().members[role].append(name)
        return out, f"{name} reads them along another axis"

    def check(self, name: str, kind: str, flow: Flow, out: Flow, axis: int) -> None:
        """Take note of what a layer asks of its channels: blocks, all of them at once, or to be left as they are."""
        module, width = self.modules[name], flow.width()
        if flow.axis != axis or (flow.features > 1 and not isinstance(module, nn.Linear)):
            self.fix([flow, out], f"{name} reads along another axis")
        if any(not parameter.requires_grad for parameter in module.parameters()):
            self.fix([flow, out], f"{name} is frozen")
        shared = {owner for parameter in module.parameters() for owner in self.owners[id(parameter)]} - {name}
        if shared:
            self.fix([flow, out], f"{name} shares weights with {', '.join(sorted(shared))}")
        groups = getattr(module, "groups", None) or getattr(module, "num_groups", None)
        if kind != "mixing" and groups and groups < width:
            if len(flow.drafts) > 1:
                self.fix([flow], f"{name} groups channels of several layers")
            flow.drafts[0].root().blocks.append(width // int(groups))
        if isinstance(module, nn.LayerNorm):
            if len(flow.drafts) > 1 or tuple(module.normalized_shape) != (width,):
                self.fix([flow], f"{name} normalises over more than the channels of one layer")
            flow.drafts[0].root().whole = True

    def merged(self, node: fx.Node, tensors: Sequence[fx.Node]) -> Optional[Flow]:
        """A sum or a product, entry by entry; a single channel is broadcast over those of the others."""
        flows = [self.flows[source] for source in tensors if source in self.flows]
        if not flows or any(shape_of(source) is None for source in node.all_input_nodes):
            return None  # a number that may depend on the widths takes part
        widest = max(flows, key=Flow.width)
        source = next(source for source in tensors if self.flows.get(source) is widest)
        place = len(shape_of(source) or ()) - widest.axis  # of the channels, from the right
        for source in tensors:
            shape, flow = shape_of(source) or (), self.flows.get(source)
            if (shape[-place] if len(shape) >= place else 1) == 1 and (flow is None or widest.width() > 1):
                self.fix([flow] if flow else [], f"{name_of(node)} broadcasts them over other channels")
                continue
            if flow is None or len(shape) - flow.axis != place or flow.features != widest.features:
                return None
            if [draft.width for draft in flow.drafts] != [draft.width for draft in widest.drafts]:
                return None
            for left, right in zip(widest.drafts, flow.drafts):
                union(left.root(), right.root())
        return replace(widest, axis=len(shape_of(node) or ()) - place)

    def unknown(self, inputs: Sequence[Flow], node: fx.Node, reason: str) -> Optional[Flow]:
        """Fix what a node reads and writes."""
        self.fix(inputs, reason)
        shape, path = shape_of(node) or (), str(node.target)
        if len(shape) < 2:
            return None
        if node.op == "call_module" and any(True for _ in self.modules[path].parameters()):
            trait = misfit(self.modules[path])
            return self.new(shape[1], path, fixed=f"it is {trait}" if trait.startswith("a ") else f"it is a layer {trait}")
        return self.new(shape[1], fixed=reason if inputs else f"they come from {name_of(node)}, which growth does not know")

    def fix(self, flows: Iterable[Flow], reason: str) -> None:
        for flow in flows:
            for draft in flow.drafts:
                draft.root().fixed = draft.root().fixed or reason

    def new(self, width: int, producer: Optional[str] = None, fixed: Optional[str] = None, axis: int = 1) -> Flow:
        draft = Draft(width, len(self.drafts), fixed=fixed)
        if producer:
            draft.members["producers"].append(producer)
        self.drafts.append(draft)
        return Flow((draft,), axis)


def _is_value(node: fx.Node) -> bool:
    """Whether a node computes a tensor, or takes one from outside."""
    return bool(shape_of(node)) and node.op != "get_attr"


def _is_input(node: fx.Node) -> bool:
    return node.op == "placeholder"


def _positions(shape: Sequence[int], axis: int) -> int:
    return math.prod(shape[1:]) // shape[axis]
