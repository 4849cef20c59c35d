"""How long a network takes at other widths: predicted from profiled layer shapes, checked by measuring the engine."""

from __future__ import annotations

import contextlib
import math
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Callable, Dict, List, Mapping, Optional, Sequence, Tuple

import numpy as np
import torch
from torch import Tensor, nn

from gearnn.blank import blank_model
from gearnn.costs import Cost
from gearnn.engine.export import export_onnx
from gearnn.engine.layer_table import LayerTable, Surface, is_diagonal, padded, surface_shapes
from gearnn.engine.layers import LayerShape
from gearnn.engine.profile import p50_in_turn
from gearnn.engine.runtimes import load_runtime
from gearnn.growth.graph import ChannelGraph, Span, Value, size
from gearnn.progress import Progress, no_progress

Shape = Tuple[int, int, int]
Measured = Callable[[Sequence[nn.Module]], List[float]]
"""Networks → milliseconds of each one's engine."""

_PARTS = 64  # of the way to the largest widths
_APART = 1.5  # so much longer a network takes than another if both are to show how times rise
_LEAST_ADDED = 0.1  # of the present layers' time; below it a line through both is noise
_FLATTEST = 0.25  # measured over profiled; a reading below it is a slip of the clock, and wider networks are never free

# Operations that runtimes fold into the layer before them, or that move nothing.
_FREE = {
    "input", "output", "Identity", "Dropout", "Dropout2d", "flatten", "Flatten", "view", "reshape", "squeeze", "unsqueeze",
    "size",
    "contiguous", "detach", "getattr", "getitem", "BatchNorm2d", "ReLU", "relu", "relu_", "add", "iadd", "add_", "Conv2d",
    "Linear",
}  # fmt: skip
_PASSES = {"GroupNorm": 4, "LayerNorm": 4, "InstanceNorm2d": 3, "GELU": 2, "gelu": 2, "SiLU": 2, "silu": 2, "Mish": 3}
"""How often an operation goes over its elements; once if not named."""


@dataclass(frozen=True)
class Site:
    """One use of a layer in a network: its traced shape, and the channels that it reads and writes.

    Attributes:
        features: input features per channel (linear layers behind a flattening).
        times: how often its time counts.
    """

    shape: LayerShape
    inputs: Tuple[Span, ...]
    outputs: Tuple[Span, ...]
    features: int = 1
    times: int = 1

    def widths(self, widths: Mapping[str, int], block: int) -> Tuple[int, int]:
        """(inputs, outputs) as the runtime pads them."""
        return padded(self.shape, size(self.inputs, widths) * self.features, size(self.outputs, widths), block)


def layer_sites(model: nn.Module, graph: ChannelGraph, example_shape: Shape) -> Tuple[Site, ...]:
    """Every convolution, linear layer and pass over memory of a network, for one image of shape (C, H, W)."""
    sites = []
    for path, shape in _layer_shapes(model, graph, example_shape):
        layer = graph.layers[path]
        sites.append(Site(shape, layer.inputs, layer.outputs, layer.features))
    values = {value.name: value for value in graph.values}
    for value in graph.values:
        if value.operation not in _FREE and value.spans:
            widest = max([value, *(values[name] for name in value.inputs if name in values)], key=_elements)
            spans = widest.spans or value.spans
            channels = sum(span.width for span in spans)
            shape = LayerShape("elementwise", channels, channels, width=max(1, widest.elements // channels))
            sites.append(Site(shape, spans, spans, times=_PASSES.get(value.operation, 1)))
    return tuple(sites)


def latency_cost(
    graph: ChannelGraph,
    model: nn.Module,
    example_shape: Shape,
    *,
    threads: int,
    largest: Mapping[str, int],
    near_ms: float,
    table: Optional[LayerTable] = None,
    deploy: Callable[[nn.Module], nn.Module] = lambda model: model,
    measured_ms: Optional[Measured] = None,
    progress: Progress = no_progress,
) -> Cost:
    """Milliseconds of one image on the engine (p50, batch 1) as a function of the group widths, non-decreasing in each.

    The sum of the layers' times, from the table, put on the line through the engines of two networks, which are timed in turn:
    the present one, and a wider one with fresh weights. Their distance from their sums holds the call, what is no layer, weights
    that no cache keeps from call to call, and a device that became slower since the table was made.

    Args:
        example_shape: (C, H, W).
        threads: of the engine.
        largest: of each group, the greatest width that may be asked for; layers are profiled up to it.
        near_ms: where the prediction is to be good: the wider network is to take about as long, if that is wide enough to tell
            the two apart.
        table: by default this device's, kept in the user's cache folder.
        deploy: makes of the model what is exported, such as one that normalises its input.
        measured_ms: times the engines of networks that are not yet made ready to be deployed; by default here, for example_shape.

    Raises:
        EngineError: if the model cannot be exported or a layer not be profiled.
    """

    def here(models: Sequence[nn.Module]) -> List[float]:
        return measure_latencies([deploy(model) for model in models], example_shape, threads)

    table = LayerTable.open(threads=threads) if table is None else table
    layers = summed_layers(graph, layer_sites(model, graph, example_shape), table, largest, progress)
    measured_ms = measured_ms or here
    seed, (present,) = graph.widths(), measured_ms([model])
    near_ms = max(near_ms, _APART * present)
    supposed = _line(layers, 0.0, present / layers(seed))  # as if all were layers, which finds a wider network to begin with
    found, wider = _line(layers, present - layers(seed), 1.0), seed
    for _ in range(2):
        last, wider = wider, widths_toward(graph, largest, supposed, near_ms)
        added = layers(wider) - layers(seed)
        if wider == last or added < _LEAST_ADDED * layers(seed):
            break
        present, there = measured_ms([model, blank_model(model, graph, wider)])
        slope = max((there - present) / added, _FLATTEST)
        supposed = found = _line(layers, present - slope * layers(seed), slope)
    return found


def _line(layers: Cost, start: float, slope: float) -> Cost:
    return lambda widths: start + slope * layers(widths)


def widths_toward(graph: ChannelGraph, largest: Mapping[str, int], cost: Cost, enough: float) -> Dict[str, int]:
    """Every group the same part of the way to its largest width, in steps of 8: the first to cost ``enough``, or the largest."""
    widths = graph.widths()
    for part in range(1, _PARTS + 1):
        for group in graph.groups:
            most, step = largest.get(group.name, group.width), 8 * group.block // math.gcd(8, group.block)
            aim = group.width + (most - group.width) * part // _PARTS
            widths[group.name] = most if part == _PARTS else max(group.width, 0 if group.whole else aim // step * step)
        if cost(widths) >= enough:
            break
    return widths


def summed_layers(
    graph: ChannelGraph, sites: Tuple[Site, ...], table: LayerTable, largest: Mapping[str, int], progress: Progress = no_progress
) -> Cost:
    """Milliseconds of all layers as a function of the group widths; layers of one kind are profiled on one grid."""
    block = table.block(progress)
    seed = graph.widths()
    largest = {**seed, **largest}
    kinds: Dict[Tuple[object, ...], List[Site]] = {}
    for site in sites:
        kinds.setdefault(_kind(site), []).append(site)
    grids = []
    for alike in kinds.values():
        ends = [site.widths(widths, block) for site in alike for widths in (seed, largest)]
        into, out = zip(*ends)
        grids.append(surface_shapes(alike[0].shape, (min(into), max(into)), (min(out), max(out)), block))
    table.measure([shape for _, _, rows in grids for row in rows for shape in row], progress)
    surfaces = [
        Surface(rows, columns, np.array([[table.seconds(shape) for shape in row] for row in shapes]))
        for rows, columns, shapes in grids
    ]
    parts = list(zip(kinds.values(), surfaces))

    def milliseconds(widths: Mapping[str, int]) -> float:
        return 1e3 * sum(site.times * surface(*site.widths(widths, block)) for alike, surface in parts for site in alike)

    return milliseconds


def recalibrated(cost: Cost, measured: float, predicted: float) -> Cost:
    """The same cost times measured / predicted, of a network whose engine was measured."""
    factor = measured / predicted
    return lambda widths: factor * cost(widths)


def measure_latency(model: nn.Module, example_shape: Shape, threads: int) -> float:
    """Milliseconds (p50) of one image (C, H, W) on the engine of this network, as `measure_latencies` takes them."""
    return measure_latencies([model], example_shape, threads)[0]


def measure_latencies(models: Sequence[nn.Module], example_shape: Shape, threads: int) -> List[float]:
    """Milliseconds of one image on each network's engine: of six `latency_rounds` the lowest, since what else runs on the
    device only adds.

    Raises:
        EngineError: if a model cannot be exported.
    """
    lowest: List[float] = latency_rounds(models, example_shape, threads, rounds=6).min(axis=0).tolist()
    return lowest


def latency_rounds(
    models: Sequence[nn.Module], example_shape: Shape, threads: int, *, rounds: int, iterations: int = 100, seconds: float = 1.0
) -> np.ndarray:
    """Milliseconds (p50) of one image (C, H, W) on each network's engine, exported for it and timed in turn: (rounds, models).

    Args:
        iterations, seconds: a network's turn ends with the first of the two.

    Raises:
        EngineError: if a model cannot be exported.
    """
    with TemporaryDirectory(prefix="gearnn-latency-") as folder, contextlib.ExitStack() as stack:
        paths = [export_onnx(model, example_shape, Path(folder) / f"{index}.onnx") for index, model in enumerate(models)]
        runtimes = [stack.enter_context(load_runtime(path, threads=threads)) for path in paths]
        return p50_in_turn(runtimes, rounds=rounds, iterations=iterations, max_seconds=seconds)


def _elements(value: Value) -> int:
    return value.elements


def _kind(site: Site) -> Tuple[object, ...]:
    """Sites of one kind differ in their channels only; a side that does not grow belongs to the kind."""
    shape = site.shape
    sides = tuple(
        None if any(span.group for span in spans) else width
        for spans, width in ((site.inputs, shape.inputs), (site.outputs, shape.outputs))
    )
    per_group = shape.inputs // shape.groups if shape.groups > 1 else 0
    return (shape.op, shape.kernel, shape.stride, per_group, shape.height, shape.width, is_diagonal(shape), sides)


def _layer_shapes(model: nn.Module, graph: ChannelGraph, example_shape: Shape) -> List[Tuple[str, LayerShape]]:
    """Path and shape of each call of a convolution or linear layer of the graph, by running the network once."""
    found: List[Tuple[str, LayerShape]] = []

    def note(path: str) -> Callable[[nn.Module, Tuple[Tensor, ...], Tensor], None]:
        def hook(module: nn.Module, inputs: Tuple[Tensor, ...], output: Tensor) -> None:
            if isinstance(module, nn.Conv2d):
                (down, right), (rows, columns) = module.kernel_size, module.stride
                height, width = inputs[0].shape[-2:]
                sides = (module.in_channels, module.out_channels)
                shape = LayerShape("conv", *sides, (down, right), (rows, columns), module.groups, int(height), int(width))
            elif isinstance(module, nn.Linear):
                shape = LayerShape(
                    "linear", module.in_features, module.out_features, height=inputs[0][0].numel() // module.in_features
                )
            else:
                return
            found.append((path, shape))

        return hook

    handles = [model.get_submodule(path).register_forward_hook(note(path)) for path in graph.layers]
    weights = next(iter(model.parameters()), None)
    example = torch.zeros(1, *example_shape, device=None if weights is None else weights.device)
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        with torch.no_grad():
            model(example)
    finally:
        for handle in handles:
            handle.remove()
        for module, training in modes.items():
            module.training = training
    return found
