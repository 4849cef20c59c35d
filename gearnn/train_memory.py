"""Peak memory of a training step, predicted from the channel graph at any widths.

A step is walked twice, as autograd does: forward, keeping what operations save for their gradients, and back, where gradients by
activations come and go and those by weights stay. Weights, their momentum and running statistics are there all the time.
"""

from __future__ import annotations

from collections import Counter
from typing import Dict, List, Mapping, Set, Tuple

from torch import nn

from gearnn.costs import Cost, parameter_cost
from gearnn.growth.graph import ChannelGraph, Value, size

_FLOAT = 4
_VIEWS = ("flatten", "Flatten", "view", "reshape", "permute", "transpose", "squeeze", "unsqueeze", "Identity", "contiguous")
_SAVE_OUTPUT = ("ReLU", "relu", "Sigmoid", "sigmoid", "Tanh", "tanh", "relu_")
_SAVE_NOTHING = ("add", "iadd", "sub", "cat", "concat", "mean", "neg", "input", *_VIEWS)
_SHARE_GRADIENT = ("add", "iadd", "sub", "cat", "concat", *_VIEWS)
_POOLS_WITH_INDICES = ("MaxPool2d", "max_pool2d", "AdaptiveMaxPool2d", "adaptive_max_pool2d", "amax")
_INDEX = 8


def memory_cost(model: nn.Module, graph: ChannelGraph, images: int) -> Cost:
    """Peak bytes of a step with ``images`` images (batch size times views): forward, backward, SGD with momentum, float32.

    What convolution libraries take for themselves is not in it; `gearnn.bench.memory` measures how much that is.
    """
    inplace = {path for path, module in model.named_modules() if getattr(module, "inplace", False)}
    parameters = parameter_cost(model, graph)
    statistics = [layer.outputs for layer in graph.layers.values() if layer.kind == "norm"]
    weights = {path: sum(parameter.numel() for parameter in model.get_submodule(path).parameters()) for path in graph.layers}
    seed = graph.widths()

    def cost(widths: Mapping[str, int]) -> float:
        growth = parameters(widths) / parameters(seed)
        fixed = _FLOAT * (2 * parameters(widths) + 2 * sum(size(spans, widths) for spans in statistics))
        step = _Step(graph.values, widths, images, inplace, {path: _FLOAT * count * growth for path, count in weights.items()})
        optimizing = _FLOAT * parameters(widths) + step.inputs()
        return fixed + max(step.peak(), optimizing)

    return cost


class _Step:
    """One training step: the storages of its values, and who needs them."""

    def __init__(
        self, values: Tuple[Value, ...], widths: Mapping[str, int], images: int, inplace: Set[str], weights: Mapping[str, float]
    ) -> None:
        self.values = values
        self.weights = weights
        self.bytes = {
            value.name: _FLOAT * images * (size(value.spans, widths) * value.positions if value.spans else value.elements)
            for value in values
        }
        self.storage: Dict[str, str] = {}
        for value in values:
            shares = value.inputs and (value.operation in _VIEWS or (value.layer in inplace))
            self.storage[value.name] = self.storage[value.inputs[0]] if shares else value.name
        self.saved = {value.name: self._saves(value) for value in values}
        self.extra = {
            value.name: self.bytes[value.name] / _FLOAT * _INDEX if value.operation in _POOLS_WITH_INDICES else 0.0
            for value in values
        }

    def inputs(self) -> float:
        """The batch itself."""
        return sum(self.bytes[value.name] for value in self.values if value.operation == "input")

    def _saves(self, value: Value) -> List[str]:
        """The storages that an operation keeps for its gradient."""
        if value.operation in _SAVE_NOTHING:
            return []
        names = [value.name] if value.operation in _SAVE_OUTPUT else list(value.inputs)
        return [self.storage[name] for name in names]

    def peak(self) -> float:
        savers = Counter(storage for found in self.saved.values() for storage in found)
        readers = Counter(self.storage[name] for value in self.values for name in value.inputs)
        alive: Set[str] = set()
        held, peak = 0.0, 0.0
        for value in self.values:  # forward
            storage = self.storage[value.name]
            if storage == value.name:
                alive.add(storage)
            held += self.extra[value.name]
            peak = max(peak, held + sum(self.bytes[name] for name in alive))
            for name in value.inputs:
                source = self.storage[name]
                readers[source] -= 1
                if not readers[source] and not savers[source] and source != storage and self._kind(source) != "input":
                    alive.discard(source)
        gradients: Dict[str, str] = {}  # value → the storage of its gradient
        sizes: Dict[str, float] = {}
        last = self.values[-1].name
        gradients[last], sizes[last] = last, self.bytes[last]
        for value in reversed(self.values):  # back
            if value.operation == "input" or value.name not in gradients:
                continue
            for name in value.inputs:
                if self._kind(name) == "input":
                    continue
                if value.operation in _SHARE_GRADIENT and name not in gradients:
                    gradients[name] = gradients[value.name]
                else:
                    gradients[name] = f"{name}<{value.name}"
                    sizes[gradients[name]] = self.bytes[name]
            if value.layer in self.weights:
                held += self.weights[value.layer]
            peak = max(peak, held + sum(self.bytes[name] for name in alive) + self._live(gradients, sizes))
            del gradients[value.name]
            held -= self.extra[value.name]
            for storage in self.saved[value.name]:
                savers[storage] -= 1
                if not savers[storage] and self._kind(storage) != "input":
                    alive.discard(storage)
        return peak

    def _live(self, gradients: Mapping[str, str], sizes: Mapping[str, float]) -> float:
        return sum(sizes[name] for name in set(gradients.values()))

    def _kind(self, name: str) -> str:
        return next(value.operation for value in self.values if value.name == name)
