"""What a network costs as a function of its channel-group widths: exact counts from the graph, no network is built."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Callable, Dict, List, Mapping, Sequence, Tuple

import numpy as np
from torch import nn

from gearnn.growth.graph import ChannelGraph, Layer, Span, size

Widths = Mapping[str, int]
Cost = Callable[[Widths], float]
"""Channel-group widths → the budgeted quantity."""
_ONE = (Span(None, 1),)


@dataclass(frozen=True)
class Term:
    """factor · (channels of ``left``) · (channels of ``right``); an empty side counts as one."""

    factor: int
    left: Tuple[Span, ...]
    right: Tuple[Span, ...] = ()


def counted(terms: Sequence[Term]) -> Callable[[Widths], np.ndarray]:
    """Every term's value as a function of the widths: float64 (len(terms),), exact up to 2⁵³."""
    traced = {span.group: span.width for term in terms for span in (*term.left, *term.right) if span.group is not None}
    factors = np.array([term.factor for term in terms], np.float64)
    left, right = (_linear([getattr(term, side) or _ONE for term in terms], list(traced)) for side in ("left", "right"))

    def values(widths: Widths) -> np.ndarray:
        present = np.array([widths.get(name, width) for name, width in traced.items()], np.float64)
        return factors * (left[0] + left[1] @ present) * (right[0] + right[1] @ present)

    return values


def total(terms: Sequence[Term], constant: float = 0) -> Cost:
    """The sum of some terms as a function of the widths."""
    values = counted(terms)
    return lambda widths: constant + float(values(widths).sum())


def _linear(sides: Sequence[Tuple[Span, ...]], names: List[str]) -> Tuple[np.ndarray, np.ndarray]:
    """Channels as a linear function of the widths of the named groups: constants (n,) and a matrix (n, groups)."""
    constants, matrix = np.zeros(len(sides)), np.zeros((len(sides), len(names)))
    for row, spans in enumerate(sides):
        for span in spans:
            if span.group is None:
                constants[row] += span.width
            else:
                matrix[row, names.index(span.group)] += 1
    return constants, matrix


def weight_terms(model: nn.Module, layer: Layer) -> List[Term]:
    """The elements of a layer's weight."""
    weight: nn.Parameter = getattr(model.get_submodule(layer.path), "weight", None)  # type: ignore[assignment]
    if weight is None:
        return []
    if layer.kind == "mixing":
        pairs = size(layer.outputs, {}) * size(layer.inputs, {})
        return [Term(weight.numel() // pairs, layer.outputs, layer.inputs)]
    return [Term(weight.numel() // size(layer.outputs, {}), layer.outputs)]


def width_cost(graph: ChannelGraph) -> Cost:
    """The paper's complexity C(f) = Σ_l w_l over the layers that write growable channels (depthwise layers follow theirs)."""
    return total([Term(1, layer.outputs) for layer in graph.layers.values() if layer.kind == "mixing" and _grows(layer.outputs)])


def parameter_cost(model: nn.Module, graph: ChannelGraph) -> Cost:
    """The number of learnable parameters; exact."""
    terms: List[Term] = []
    for layer in graph.layers.values():
        terms += weight_terms(model, layer)
        if getattr(model.get_submodule(layer.path), "bias", None) is not None:
            terms.append(Term(1, layer.outputs))
    in_layers = total(terms)(graph.widths())
    return total(terms, sum(parameter.numel() for parameter in model.parameters()) - in_layers)


def mac_cost(model: nn.Module, graph: ChannelGraph) -> Cost:
    """Multiply-accumulates of convolutions and linear layers per image; exact."""
    terms = []
    for layer in graph.layers.values():
        if layer.kind != "norm":
            terms += [Term(term.factor * layer.positions, term.left, term.right) for term in weight_terms(model, layer)]
    return total(terms)


def size_cost(model: nn.Module, graph: ChannelGraph, exported_bytes: float) -> Cost:
    """Bytes of the deployed float32 ONNX model.

    A BatchNorm right behind a convolution is folded into it and leaves one bias per channel; any other keeps four values.

    Args:
        exported_bytes: of the network as it is, which tells what its structure takes besides its weights.
    """
    terms: List[Term] = []
    folded = _folded(graph)
    for layer in graph.layers.values():
        if layer.kind == "norm":
            kept = {"BatchNorm2d": 4, "BatchNorm1d": 4}.get(type(model.get_submodule(layer.path)).__name__, 2)
            terms += [] if layer.path in folded else [Term(4 * kept, layer.outputs)]
        else:
            terms += [Term(4 * term.factor, term.left, term.right) for term in weight_terms(model, layer)]
            has_bias = getattr(model.get_submodule(layer.path), "bias", None) is not None
            if has_bias or layer.path in folded.values():
                terms.append(Term(4, layer.outputs))
    return total(terms, exported_bytes - total(terms)(graph.widths()))


def _folded(graph: ChannelGraph) -> Dict[str, str]:
    """BatchNorm → the convolution that it is folded into on export: the one right before it, if nothing else reads that."""
    values = {value.name: value for value in graph.values}
    readers: Dict[str, int] = {}
    for value in graph.values:
        for name in value.inputs:
            readers[name] = readers.get(name, 0) + 1
    found = {}
    for value in graph.values:
        source = values[value.inputs[0]] if value.inputs else None
        if value.operation == "BatchNorm2d" and source and source.operation == "Conv2d" and readers[source.name] == 1:
            assert value.layer is not None and source.layer is not None
            found[value.layer] = source.layer
    return found


def _grows(spans: Tuple[Span, ...]) -> bool:
    return any(span.group is not None for span in spans)
