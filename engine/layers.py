"""What single layers cost on a runtime: one small ONNX network per layer shape, timed, in a table kept on disk per device.

ONNX Runtime's own profiler counts whole microseconds and adds one or two to every node, as much as a small layer takes. So a
layer is timed by what another copy of it adds: networks with one copy and with several, called in turns (see `profile_layer`).
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import List, Tuple

import numpy as np

from gearnn.engine.errors import EngineError
from gearnn.engine.files import write_bytes
from gearnn.engine.runtimes import Runtime, load_runtime

OPS = ("conv", "linear", "elementwise")
_OPSET, _IR_VERSION = 13, 7
_MANY = 8  # copies of a small layer; larger ones need fewer to stand out of the noise
_WEIGHT_BYTES = 24 << 20  # of all copies of one layer


@dataclass(frozen=True)
class LayerShape:
    """A layer at batch 1, as far as its time depends on it.

    Attributes:
        op: "conv" ("same" padding), "linear" on each of height · width rows, or "elementwise" (one reading and writing of all
            elements; inputs == outputs).
        inputs, outputs: channels (features).
        kernel, stride, groups: of a convolution.
        height, width: of the input.
    """

    op: str
    inputs: int
    outputs: int
    kernel: Tuple[int, int] = (1, 1)
    stride: Tuple[int, int] = (1, 1)
    groups: int = 1
    height: int = 1
    width: int = 1

    def __post_init__(self) -> None:
        sizes = (self.inputs, self.outputs, *self.kernel, *self.stride, self.groups, self.height, self.width)
        if self.op not in OPS or min(sizes) < 1:
            raise EngineError(f"{self} is no layer: op must be one of {', '.join(OPS)}, and all sizes at least 1")
        if self.inputs % self.groups or self.outputs % self.groups:
            raise EngineError(f"{self.groups} groups do not divide the {self.inputs} inputs and {self.outputs} outputs of {self}")

    def weight_shape(self) -> Tuple[int, ...]:
        """Of the layer's weight as ONNX stores it; () for an elementwise one."""
        if self.op == "conv":
            return (self.outputs, self.inputs // self.groups, *self.kernel)
        return (self.inputs, self.outputs) if self.op == "linear" else ()

    def output_shape(self) -> Tuple[int, ...]:
        """Of what it writes for one image."""
        if self.op == "linear":
            return (self.height * self.width, self.outputs)
        return (1, self.outputs, -(-self.height // self.stride[0]), -(-self.width // self.stride[1]))


def layer_network(shape: LayerShape, copies: int, seed: int = 0) -> bytes:
    """An ONNX network from (1, 1, height, width) through ``copies`` of a layer with random weights.

    A 1×1 convolution makes the layer's input, in whatever layout the runtime prefers. Convolutions and linear layers all read
    it and add up, which runtimes do inside the layer itself; every copy has weights of its own. Elementwise copies are chained.
    """
    from onnx import TensorProto, checker, helper, numpy_helper

    rng = np.random.default_rng(seed)
    nodes, weights = [], []

    def constant(name: str, array: np.ndarray) -> str:
        weights.append(numpy_helper.from_array(array, name))
        return name

    first = rng.standard_normal((shape.inputs, 1, 1, 1), dtype=np.float32)
    nodes.append(helper.make_node("Conv", ["images", constant("first", first)], ["expanded"]))
    nodes.append(helper.make_node("Relu", ["expanded"], ["input"]))
    last = "input"
    if shape.op == "linear":
        rows = constant("rows", np.array([shape.height * shape.width, shape.inputs], np.int64))
        nodes.append(helper.make_node("Transpose", ["input"], ["channels_last"], perm=[0, 2, 3, 1]))
        nodes.append(helper.make_node("Reshape", ["channels_last", rows], ["features"]))
    if shape.op != "elementwise":
        fan_in = max(1, int(np.prod(shape.weight_shape())) // shape.outputs)
        weight = rng.standard_normal(shape.weight_shape(), dtype=np.float32) / np.float32(np.sqrt(fan_in))
        bias = rng.standard_normal(shape.outputs, dtype=np.float32)
    for copy in range(copies):
        out = f"out{copy}"
        if shape.op == "elementwise":
            nodes.append(helper.make_node("Abs", [last], [out]))
        else:
            own = constant(f"weight{copy}", weight * np.float32(1 - 0.05 * copy))
            added = constant(f"bias{copy}", bias)
            if shape.op == "linear":
                nodes.append(helper.make_node("Gemm", ["features", own, added if copy == 0 else last], [out]))
            else:
                raw = out if copy == 0 else f"raw{copy}"
                top, left = (shape.kernel[0] - 1) // 2, (shape.kernel[1] - 1) // 2
                pads = [top, left, shape.kernel[0] - 1 - top, shape.kernel[1] - 1 - left]
                nodes.append(
                    helper.make_node(
                        "Conv", ["input", own, added], [raw], pads=pads, strides=list(shape.stride), group=shape.groups
                    )
                )
                if copy:
                    nodes.append(helper.make_node("Add", [raw, last], [out]))
        last = out
    images = helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 1, shape.height, shape.width])
    output = helper.make_tensor_value_info(last, TensorProto.FLOAT, shape.output_shape())
    graph = helper.make_graph(nodes, "layer", [images], [output], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR_VERSION)
    checker.check_model(model)
    content: bytes = model.SerializeToString()
    return content


def profile_layer(
    shape: LayerShape, runtime: str = "auto", threads: int = 1, *, seconds: float = 0.05, rounds: int = 60, seed: int = 0
) -> float:
    """Seconds that one such layer adds to a network's call: the median over interleaved pairs of calls.

    A pair is a network with one copy and one with up to eight; their difference, per further copy, holds the layer and the
    runtime's overhead per node, and neither the call's overhead nor what surrounds the layer.

    Args:
        seconds, rounds: the timed pairs end with the first of the two; at least 5 pairs are timed.

    Raises:
        EngineError: if the runtime is unknown or refuses the layer.
    """
    weight_bytes = 4 * max(1, int(np.prod(shape.weight_shape())))
    copies = 1 + min(_MANY - 1, max(2, _WEIGHT_BYTES // weight_bytes))
    images = np.random.default_rng(seed).random((1, 1, shape.height, shape.width), dtype=np.float32)
    with tempfile.TemporaryDirectory(prefix="gearnn-layer-") as folder:
        loaded: List[Runtime] = []
        for count in (1, copies):
            path = Path(folder) / f"{count}.onnx"
            write_bytes(path, layer_network(shape, count, seed))
            loaded.append(load_runtime(path, runtime, threads))
        with loaded[0] as one, loaded[1] as many:
            for network in (one, many, one, many):
                network.run(images)
            taken: List[float] = []
            end = time.perf_counter() + seconds
            while len(taken) < 5 or (len(taken) < rounds and time.perf_counter() < end):
                start = time.perf_counter()
                one.run(images)
                middle = time.perf_counter()
                many.run(images)
                taken.append((time.perf_counter() - middle) - (middle - start))
    return max(float(np.median(taken)) / (copies - 1), 1e-9)
