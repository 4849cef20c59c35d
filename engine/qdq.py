"""Quantise and dequantise nodes (Q/DQ) in an ONNX graph: where they go, and what they hold.

For TensorRT as its developer guide asks ("Working with quantized types", Q/DQ placement): signed and symmetric, before the input
of every convolution and matrix product, on the branch of a residual sum that is not the convolution's own output (so that the
sum joins that convolution), nothing between a convolution and its ReLU, biases in floating point. For ONNX Runtime on a CPU:
unsigned and asymmetric, so that a ReLU becomes part of the range, and around sums and pooling as well, so that whole chains stay
in 8 bits. Weights are the same in both: int8, symmetric, one scale per output channel (Jacob et al., CVPR 2018; Wu et al., 2020).
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Dict, List, Mapping, Sequence, Set, Tuple

import numpy as np

from gearnn.engine.errors import EngineError
from gearnn.engine.onnx_model import import_onnx

if TYPE_CHECKING:
    import onnx

RUNTIMES = ("tensorrt", "onnxruntime")
# Kernels for x86 without VNNI add two products of an unsigned and a signed number in 16 bits: 2 · 255 · 64 just fits.
_WEIGHT_LIMIT = {"tensorrt": 127, "onnxruntime": 64}
_SMALLEST = 1e-12  # scales are positive, also of channels and activations that are all zero


@dataclass(frozen=True)
class Layer:
    """A node whose weights are constant.

    Attributes:
        name: of the node.
        operator: "Conv", "Gemm" or "MatMul".
        weight: name of the initialiser.
        axis: of the output channels in it.
        weights: how many numbers it has.
    """

    name: str
    operator: str
    weight: str
    axis: int
    weights: int


def quantizable(model: onnx.ModelProto) -> Tuple[Layer, ...]:
    """The layers that can be quantised, in the graph's order: Conv, Gemm and MatMul with FP32 weights in the file.

    Args:
        model: as `read_model` gives it.
    """
    onnx = import_onnx()
    shapes = {entry.name: tuple(entry.dims) for entry in model.graph.initializer if entry.data_type == onnx.TensorProto.FLOAT}
    found = []
    for node in model.graph.node:
        if node.op_type not in ("Conv", "Gemm", "MatMul") or node.input[1] not in shapes or node.input[0] in shapes:
            continue
        shape = shapes[node.input[1]]
        if node.op_type != "Conv" and len(shape) != 2:
            continue
        transposed = any(entry.name == "transB" and entry.i for entry in node.attribute)
        axis = 0 if node.op_type == "Conv" or transposed else 1
        found.append(Layer(node.name, node.op_type, node.input[1], axis, int(np.prod(shape))))
    return tuple(found)


def activations(model: onnx.ModelProto) -> Tuple[str, ...]:
    """Names of all tensors that may get Q/DQ, whatever stays in floating point and whatever runs it."""
    return tuple(_uses(model, _chosen(model, ()), "onnxruntime"))


def insert(
    model: onnx.ModelProto, limits: Mapping[str, Tuple[float, float]], keep: Sequence[str], runtime: str
) -> onnx.ModelProto:
    """A copy of the model with Q/DQ.

    Args:
        limits: tensor → (low, high), low <= 0 <= high, of the tensors that `activations` names.
        keep: names of layers that stay in floating point.
        runtime: one of `RUNTIMES`.
    """
    onnx = import_onnx()
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    graph, chosen = copy.graph, _chosen(copy, keep)
    pairs: Dict[str, List[Any]] = {}
    for index, (tensor, uses) in enumerate(_uses(copy, chosen, runtime).items()):
        pairs[tensor] = _pair(graph, index, tensor, limits[tensor], runtime)
        for node, place in uses:
            node.input[place] = pairs[tensor][1].output[0]
    nodes = _quantize_weights(graph, chosen, _WEIGHT_LIMIT[runtime])
    for value in graph.input:
        nodes += pairs.get(value.name, [])
    for node in graph.node:
        nodes.append(node)
        for output in node.output:
            nodes += pairs.get(output, [])
    ordered = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(ordered)
    return copy


def widen_weights(model: onnx.ModelProto) -> None:
    """Turn int8 weights behind a dequantise node into FP32 weights behind a quantise and a dequantise node, in place.

    The FP32 weights are the scaled int8 ones, so that quantising them gives the same int8 weights again.
    """
    onnx = import_onnx()
    graph = model.graph
    tensors = {entry.name: entry for entry in graph.initializer}
    nodes = []
    for node in graph.node:
        entry = tensors.get(node.input[0]) if node.op_type == "DequantizeLinear" else None
        if entry is not None and entry.data_type == onnx.TensorProto.INT8:
            values, scales = onnx.numpy_helper.to_array(entry), onnx.numpy_helper.to_array(tensors[node.input[1]])
            axis = next(attribute.i for attribute in node.attribute if attribute.name == "axis")
            others = tuple(other for other in range(values.ndim) if other != axis)
            wide = onnx.numpy_helper.from_array(values * np.expand_dims(scales, others), f"{entry.name}.f")
            graph.initializer.remove(entry)
            graph.initializer.append(wide)
            inputs = [wide.name, *node.input[1:]]
            nodes.append(onnx.helper.make_node("QuantizeLinear", inputs, [node.input[0]], name=f"{entry.name}.Q", axis=axis))
        nodes.append(node)
    ordered = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(ordered)


def check_runtime(runtime: str) -> None:
    """Do nothing if Q/DQ can be placed for this runtime; raises EngineError."""
    if runtime not in RUNTIMES:
        raise EngineError(f"there is no placement of Q/DQ for {runtime!r}: choose from {', '.join(RUNTIMES)}")


def _chosen(model: onnx.ModelProto, keep: Sequence[str]) -> Dict[str, Layer]:
    return {layer.name: layer for layer in quantizable(model) if layer.name not in keep}


def _uses(model: onnx.ModelProto, chosen: Mapping[str, Layer], runtime: str) -> Dict[str, List[Tuple[Any, int]]]:
    """Tensor → the (node, input) places that read its quantised version."""
    graph = model.graph
    constants = {entry.name for entry in graph.initializer}
    producers = {output: node for node in graph.node for output in node.output}
    uses: Dict[str, List[Tuple[Any, int]]] = defaultdict(list)
    for node in graph.node:
        if node.name in chosen:
            uses[node.input[0]].append((node, 0))
        elif node.op_type == "Add" and not constants.intersection(node.input):
            for place in _summands(node, producers, chosen, runtime):
                uses[node.input[place]].append((node, place))
        elif node.op_type == "GlobalAveragePool" and runtime == "onnxruntime":
            uses[node.input[0]].append((node, 0))
    return uses


def _summands(node: Any, producers: Mapping[str, Any], chosen: Mapping[str, Layer], runtime: str) -> List[int]:
    """Which inputs of a sum are quantised, if it follows a quantised layer."""
    layers = [producers[name].name if name in producers else "" for name in node.input]
    direct = [place for place, name in enumerate(layers) if name in chosen]
    if not direct:
        return []
    if runtime == "onnxruntime":
        return [0, 1]
    if len(direct) == 1:
        return [1 - direct[0]]
    return [min(direct, key=lambda place: chosen[layers[place]].weights)]  # of two layers, the sum joins the larger one


def _pair(graph: Any, index: int, tensor: str, limits: Tuple[float, float], runtime: str) -> List[Any]:
    """Quantise and dequantise nodes for an activation; names are short, since small networks count every byte."""
    low, high = limits
    if runtime == "tensorrt":
        scale, zero = max(-low, high, _SMALLEST) / 127, np.array(0, np.int8)
    else:
        scale = max(high - low, _SMALLEST) / 255
        zero = np.array(round(-low / scale), np.uint8)
    names = [_add(graph, f"s{index}", np.float32(scale)), _add(graph, f"{zero.dtype}.{zero}", zero)]
    make = import_onnx().helper.make_node
    return [
        make("QuantizeLinear", [tensor, *names], [f"q{index}"], name=f"Q{index}"),
        make("DequantizeLinear", [f"q{index}", *names], [f"dq{index}"], name=f"DQ{index}"),
    ]


def _quantize_weights(graph: Any, chosen: Mapping[str, Layer], limit: int) -> List[Any]:
    """Dequantise nodes for the weights of the chosen layers, whose FP32 initialisers go where nothing else reads them."""
    onnx = import_onnx()
    layers = {layer.weight: layer for layer in chosen.values()}
    numbers = {weight: index for index, weight in enumerate(layers)}
    for node in graph.node:
        if node.name in chosen:
            node.input[1] = f"wdq{numbers[node.input[1]]}"
    still_read: Set[str] = {name for node in graph.node for name in node.input}
    nodes = []
    for entry in list(graph.initializer):
        if entry.name not in layers:
            continue
        layer, index = layers[entry.name], numbers[entry.name]
        values, scales = quantize_weights(onnx.numpy_helper.to_array(entry), layer.axis, limit)
        # TensorRT 8.5 demands as many zero points as scales (onnx-tensorrt, QuantDequantLinearHelper); layers share them.
        zeros = np.zeros(len(scales), np.int8)
        names = [
            _add(graph, f"w{index}", values),
            _add(graph, f"ws{index}", scales),
            _add(graph, f"zeros{len(zeros)}", zeros),
        ]
        nodes.append(onnx.helper.make_node("DequantizeLinear", names, [f"wdq{index}"], name=f"WDQ{index}", axis=layer.axis))
        if entry.name not in still_read:
            graph.initializer.remove(entry)
    return nodes


def quantize_weights(weights: np.ndarray, axis: int, limit: int = 127) -> Tuple[np.ndarray, np.ndarray]:
    """Symmetric 8-bit weights with one scale per channel: weights ≈ values · scales along the axis.

    Args:
        weights: float32.
        axis: of the channels.
        limit: largest magnitude used, at most 127.

    Returns:
        int8 of the same shape, and float32 (channels,), above 0.
    """
    others = tuple(other for other in range(weights.ndim) if other != axis)
    scales = (np.maximum(np.abs(weights).max(axis=others), _SMALLEST) / limit).astype(np.float32)
    values = np.rint(weights / np.expand_dims(scales, others))
    return np.clip(values, -limit, limit).astype(np.int8), scales


def _add(graph: Any, name: str, values: Any) -> str:
    """Add an initialiser, unless one of that name is there; returns the name."""
    if all(entry.name != name for entry in graph.initializer):
        graph.initializer.append(import_onnx().numpy_helper.from_array(np.asarray(values), name))
    return name
