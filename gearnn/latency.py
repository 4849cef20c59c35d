"""How long a network takes at other widths: predicted from profiled layer shapes, checked by measuring the engine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Callable, Dict, List, Mapping, Optional, Tuple, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from gearnn.costs import Cost
from gearnn.engine.export import export_onnx
from gearnn.engine.layer_table import LayerTable, Surface, is_diagonal, padded, surface_shapes
from gearnn.engine.layers import LayerShape
from gearnn.engine.profile import profile_latency
from gearnn.engine.runtimes import load_runtime
from gearnn.growth.graph import ChannelGraph, Span, Value, size
from gearnn.progress import Progress, no_progress

Shape = Tuple[int, int, int]
Choice = TypeVar("Choice")

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
    table: Optional[LayerTable] = None,
    deploy: Callable[[nn.Module], nn.Module] = lambda model: model,
    measured_ms: Optional[float] = None,
    progress: Progress = no_progress,
) -> Cost:
    """Milliseconds of one image on the engine (p50, batch 1) as a function of the group widths, non-decreasing in each.

    The sum of the layers' times, from the table, plus what the engine of the present network takes beyond its own sum: the
    call, and what is no layer.

    Args:
        example_shape: (C, H, W).
        threads: of the engine.
        largest: of each group, the greatest width that may be asked for; layers are profiled up to it.
        table: by default this device's, kept in the user's cache folder.
        deploy: makes of the model what is exported, such as one that normalises its input.
        measured_ms: p50 of the present network's engine; measured if not given.

    Raises:
        EngineError: if the model cannot be exported or a layer not be profiled.
    """
    table = LayerTable.open(threads=threads) if table is None else table
    layers = summed_layers(graph, layer_sites(model, graph, example_shape), table, largest, progress)
    drift = table.drift()
    if measured_ms is None:
        measured_ms = measure_latency(deploy(model), example_shape, threads)
    beyond = measured_ms - drift * layers(graph.widths())
    return lambda widths: drift * layers(widths) + beyond


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


def measure_latency(
    model: nn.Module, example_shape: Shape, threads: int, *, rounds: int = 3, iterations: int = 100, seconds: float = 1.0
) -> float:
    """Milliseconds (p50) of one image (C, H, W) on the engine of this network, exported for it.

    The lowest of a few rounds' medians: what else runs on the device only adds.

    Args:
        iterations, seconds: a round ends with the first of the two.

    Raises:
        EngineError: if the model cannot be exported.
    """
    with TemporaryDirectory(prefix="gearnn-latency-") as folder:
        path = export_onnx(model, example_shape, Path(folder) / "model.onnx")
        with load_runtime(path, threads=threads) as runtime:
            found = [profile_latency(runtime, (1,), iterations=iterations, max_seconds=seconds)[0] for _ in range(rounds)]
    return min(latency.p50_ms for latency in found)


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
