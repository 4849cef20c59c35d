"""What single layers cost on a runtime: one small ONNX network per layer shape, timed, in a table kept on disk per device.

ONNX Runtime's own profiler counts whole microseconds and adds one or two to every node, as much as a small layer takes. So a
layer is timed by what another copy of it adds: networks with one copy and with several, called in turns (see `profile_layers`).
"""

from __future__ import annotations

import contextlib
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Dict, Iterator, List, Sequence, Tuple

import numpy as np

from gearnn.engine.errors import EngineError
from gearnn.engine.runtimes import Runtime, load_runtime

OPS = ("conv", "linear", "elementwise")
_OPSET, _IR_VERSION = 13, 7
_MANY = 8  # copies of a small layer; larger ones stand out of the noise with fewer
_COPIED_BYTES = 24 << 20  # of the weights of all copies of one layer
_CALL_SECONDS = 8e-4  # a longer call is rarely left alone on a busy machine
_LOADED, _LOADED_BYTES = 32, 64 << 20  # layers, and their weights, in memory at a time


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
        weight = (rng.random(shape.weight_shape(), dtype=np.float32) - np.float32(0.5)) / np.float32(np.sqrt(fan_in))
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


def profile_layers(
    shapes: Sequence[LayerShape],
    runtime: str = "auto",
    threads: int = 1,
    *,
    passes: int = 3,
    seconds: float = 0.015,
    seed: int = 0,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> List[float]:
    """Seconds that one more such layer adds to a network's call, for each shape.

    A network with one copy and one with up to eight are called in turns; the difference of their medians, per further copy,
    holds the layer and the runtime's overhead per node, and neither the call's overhead nor what surrounds the layer. Shapes
    are loaded a few dozen at a time; all are visited once before any is again, ``passes`` times, and each network's lowest
    median counts: what else runs on the device only adds, and seldom for as long as a whole pass.

    Args:
        seconds: of each visit; at least 5 calls of each network are timed.
        progress: called with (visits done, in shapes; shapes in all).

    Raises:
        EngineError: if the runtime is unknown or refuses a layer.
    """
    if not shapes:
        return []
    copies: Dict[LayerShape, int] = {}
    visits: List[List[np.ndarray]] = [[] for _ in range(passes)]
    for number, visited in enumerate(visits):
        for together in _batches(shapes):
            progress((number * len(shapes) + len(visited)) // passes, len(shapes))
            with contextlib.ExitStack() as stack:
                pairs = [_load_pair(shape, copies, runtime, threads, seed, stack) for shape in together]
                visited += [_time_in_turns(pair.networks, pair.images, seconds) for pair in pairs]
    progress(len(shapes), len(shapes))
    one, many = np.min(visits, axis=0).T
    further = np.array([copies[shape] - 1 for shape in shapes])
    found: List[float] = np.maximum((many - one) / further, 1e-9).tolist()
    return found


@dataclass(frozen=True)
class _Pair:
    """The networks with one and with several copies of a layer, and their input."""

    networks: Tuple[Runtime, Runtime]
    images: np.ndarray


def _batches(shapes: Sequence[LayerShape]) -> Iterator[List[LayerShape]]:
    """Shapes that are loaded together."""
    batch: List[LayerShape] = []
    total = 0
    for shape in shapes:
        weights = _most_copies(shape) * _weight_bytes(shape)
        if batch and (total + weights > _LOADED_BYTES or len(batch) == _LOADED):
            yield batch
            batch, total = [], 0
        batch.append(shape)
        total += weights
    if batch:
        yield batch


def _weight_bytes(shape: LayerShape) -> int:
    return 4 * int(np.prod(shape.weight_shape()))


def _most_copies(shape: LayerShape) -> int:
    return min(_MANY, max(2, _COPIED_BYTES // _weight_bytes(shape)))


def _load_pair(
    shape: LayerShape, copies: Dict[LayerShape, int], runtime: str, threads: int, seed: int, stack: contextlib.ExitStack
) -> _Pair:
    """Both networks, to be closed with the stack; ``copies`` holds how many, as many as a short call has room for if not yet."""
    images = np.random.default_rng(seed).random((1, 1, shape.height, shape.width), dtype=np.float32)
    with tempfile.TemporaryDirectory(prefix="gearnn-layer-") as folder:

        def load(number: int) -> Runtime:
            path = Path(folder) / f"{number}.onnx"
            path.write_bytes(layer_network(shape, number, seed))
            return stack.enter_context(load_runtime(path, runtime, threads))

        one = load(1)
        if shape not in copies:
            taken = float(_time_in_turns([one], images, 0.0)[0])
            copies[shape] = int(min(_most_copies(shape), max(2, _CALL_SECONDS / taken)))
        return _Pair((one, load(copies[shape])), images)


def _time_in_turns(networks: Sequence[Runtime], images: np.ndarray, seconds: float) -> np.ndarray:
    """Median seconds of a call of each network: float64 (len(networks),)."""
    for network in networks:
        network.run(images)
    taken: List[List[float]] = []
    end = time.perf_counter() + seconds
    while len(taken) < 5 or (len(taken) < 100 and time.perf_counter() < end):
        row = []
        for network in networks:
            start = time.perf_counter()
            network.run(images)
            row.append(time.perf_counter() - start)
        taken.append(row)
    medians: np.ndarray = np.median(np.array(taken), axis=0)
    return medians
