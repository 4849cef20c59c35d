"""Peak memory of a training step, predicted from the channel graph at any widths.

A step of `gearnn.training.train_epoch` is walked as autograd does it: forward, keeping what operations save for their gradients;
back, where gradients by activations come and go and those by weights stay; and the optimizer's update. What lives when does not
depend on the widths, so the walk is done once, and a prediction is the largest entry of a matrix times the sizes.
"""

from __future__ import annotations

from collections import Counter
from typing import Dict, List, Mapping, Set, Tuple

import numpy as np
from torch import nn

from gearnn.costs import Cost, Term, counted, parameter_cost, weight_terms
from gearnn.growth.graph import ChannelGraph, Span, Value

_FLOAT, _INDEX = 4, 8  # bytes
# What operations keep for their gradients (torch's derivatives.yaml); those not named keep their inputs.
_RESHAPES = {"flatten", "Flatten", "view", "reshape"}  # copies where several positions of channels-last values are flattened
_VIEWS = {"permute", "transpose", "squeeze", "unsqueeze", "Identity", "contiguous", "detach", *_RESHAPES}
_KEEP_NOTHING = {"add", "add_", "iadd", "sub", "isub", "cat", "concat", "mean", "neg", "input", *_VIEWS}
_KEEP_OUTPUT = {"ReLU", "relu", "relu_", "Sigmoid", "sigmoid", "Tanh", "tanh", "sqrt"}
_KEEP_OUTPUT_IN_PLACE = {"ReLU6", "Hardtanh", "LeakyReLU", "ELU", "CELU", "SELU"}
_MEAN_TO_ONE = {"AdaptiveAvgPool2d", "adaptive_avg_pool2d"}  # keeps its input only where more than one position is left
_INDICES = {"MaxPool2d", "max_pool2d", "AdaptiveMaxPool2d", "adaptive_max_pool2d"}
_MASKS = {"Dropout", "Dropout2d", "dropout", "dropout2d"}
_IN_PLACE = {"relu_", "add_", "iadd", "isub", "mul_", "imul"}
_SHARE_GRADIENT = {"add", "add_", "iadd", "cat", "concat", *_VIEWS}
_PRODUCTS = {"mul", "mul_", "imul", "div", "truediv"}
_NORMS = {"BatchNorm1d", "BatchNorm2d"}


def memory_cost(model: nn.Module, graph: ChannelGraph, images: int) -> Cost:
    """Peak bytes of a step with ``images`` images (batch size times views): forward, backward, SGD with momentum, float32.

    It is what torch allocates on a CPU with weights and images in channels-last layout: weights, gradients, momentum, running
    statistics, the batch, activations and their gradients. The process's resident memory rises by more: on one x86 core (torch
    2.13, the three networks at 1/8 width, 128 images) by 3 to 7 % more with MALLOC_MMAP_THRESHOLD_=16384 in the environment, and
    by 28 to 58 % more without it: convolution libraries' own memory, and freed pieces that the C library's heap keeps. Half
    precision on a GPU is predicted as if it were float32, which is an upper bound: on an H200 (torch 2.11, quarter widths, 32 to
    512 images) a step in half precision took 53 to 79 % of it, and one in float32 99 to 102 %.
    """
    values = counted(
        [
            Term(images * value.positions, value.spans or (Span(None, value.elements // value.positions),))
            for value in graph.values
        ]
    )
    paths, terms = [], []
    for path, layer in graph.layers.items():
        found = [*weight_terms(model, layer)]
        if getattr(model.get_submodule(path), "bias", None) is not None:
            found.append(Term(1, layer.outputs))
        paths += [path] * len(found)
        terms += found
    weights, parameters = counted(terms), parameter_cost(model, graph)
    statistics = counted([Term(2, layer.outputs) for layer in graph.layers.values() if layer.kind == "norm"])
    rows = _Step(model, graph, paths).rows()

    def cost(widths: Mapping[str, int]) -> float:
        learned, present = weights(widths), parameters(widths)
        fixed = _FLOAT * (2 * present + statistics(widths).sum())  # momentum is as large as the weights
        step = float((rows @ np.concatenate([values(widths), learned])).max())
        other = _FLOAT * (present - learned.sum())  # parameters outside layers: their gradients are always counted
        update = rows[0, : len(graph.values)] @ values(widths) + _FLOAT * (learned.sum() + 2 * learned.max())
        return float(fixed + other + max(step, update))

    return cost


class _Step:
    """The walk: rows of bytes per element, over (values, weights), one for every moment that could be the peak."""

    def __init__(self, model: nn.Module, graph: ChannelGraph, paths: List[str]) -> None:
        self.values = graph.values
        self.columns = {value.name: column for column, value in enumerate(graph.values)}
        self.weights: Dict[str, List[int]] = {}
        for offset, path in enumerate(paths):
            self.weights.setdefault(path, []).append(len(graph.values) + offset)
        self.live = np.zeros(len(graph.values) + len(paths))
        self.found: List[np.ndarray] = []
        in_place = {path for path, module in model.named_modules() if getattr(module, "inplace", False)}
        self.storage: Dict[str, str] = {}
        self.kept: Dict[str, List[str]] = {}  # value → storages kept for its gradient
        self.extra: Dict[str, int] = {}  # value → bytes per element kept besides
        self.views: Set[str] = set()
        self.flattened: Set[str] = set()  # values whose gradient comes back in another layout
        positions = {value.name: value.positions for value in self.values}
        for value in self.values:
            changed = value.operation in _IN_PLACE or value.layer in in_place
            if value.operation in _RESHAPES and positions[value.inputs[0]] > 1:
                self.flattened.add(value.inputs[0])
            elif value.operation in _VIEWS:
                self.views.add(value.name)
            shares = bool(value.inputs) and (changed or value.name in self.views)
            self.storage[value.name] = self.storage[value.inputs[0]] if shares else value.name
            names, self.extra[value.name] = _keeps(value, changed)
            self.kept[value.name] = sorted({self.storage[name] for name in names})

    def rows(self) -> np.ndarray:
        self._forward()
        self._backward()
        return np.stack(self.found)

    def _moment(self, *transient: Tuple[List[int], float]) -> None:
        row = self.live.copy()
        for columns, size in transient:
            np.add.at(row, columns, size)
        self.found.append(row)

    def _forward(self) -> None:
        savers = Counter(storage for kept in self.kept.values() for storage in kept)
        readers = Counter(self.storage[name] for value in self.values for name in value.inputs)
        for value in self.values:
            storage, column = self.storage[value.name], self.columns[value.name]
            self.live[column] += self.extra[value.name] + (_FLOAT if storage == value.name else 0)
            self._moment((self.weights.get(value.layer or "", []), _FLOAT))
            for name in value.inputs:
                source = self.storage[name]
                readers[source] -= 1
                if not readers[source] and not savers[source] and source != storage:
                    self._free(source)
        self.savers = savers

    def _backward(self) -> None:
        gradients: Dict[str, Set[str]] = {self.values[-1].name: {self.values[-1].name}}  # value → storages, by the value they fit
        holders = Counter({self.values[-1].name: 1})
        self.live[self.columns[self.values[-1].name]] += _FLOAT
        fits = {self.values[-1].name: self.columns[self.values[-1].name]}
        inputs = {value.name for value in self.values if value.operation == "input"}
        positions = {value.name: value.positions for value in self.values}
        for value in reversed(self.values):
            if value.name in inputs or value.name not in gradients:
                continue
            mine, weights = gradients.pop(value.name), self.weights.get(value.layer or "", [])
            for name in dict.fromkeys(value.inputs):
                if name in inputs:
                    continue
                if value.operation in _SHARE_GRADIENT and name not in gradients:
                    gradients[name] = set(mine)
                    holders.update(mine)
                    continue
                new = f"{name}<{value.name}"
                fits[new] = self.columns[name]
                self.live[fits[new]] += _FLOAT
                holders[new] += 1
                gradients.setdefault(name, set()).add(new)
            self.live[weights] += _FLOAT
            # BatchNorm's gradient is computed in a copy, a convolution's by its weights in two; a product's is summed where an
            # input was broadcast.
            uneven = value.operation in _PRODUCTS and len({positions[name] for name in value.inputs}) > 1
            copies = [self.columns[value.name]] if uneven or value.operation in _NORMS else []
            if value.operation in _INDICES and value.name in self.flattened:
                copies = [self.columns[value.inputs[0]], *2 * [self.columns[value.name]]]
            self._moment((copies, _FLOAT), (weights if value.operation == "Conv2d" else [], 2 * _FLOAT))
            for name in value.inputs:
                self._add_up(gradients.get(name, set()), holders, fits)
            for storage in mine:
                self._drop(storage, holders, fits)
            self.live[self.columns[value.name]] -= self.extra[value.name]
            for storage in self.kept[value.name]:
                self.savers[storage] -= 1
                if not self.savers[storage]:
                    self._free(storage)

    def _add_up(self, storages: Set[str], holders: Counter, fits: Dict[str, int]) -> None:
        """What several readers send is added up in one of theirs, or in a new one where that is another's too."""
        private, *rest = sorted(storages, key=lambda name: (holders[name], name)) or [""]
        if any(holders[storage] > 1 for storage in rest):
            self._moment(([fits[private]], _FLOAT))
        for storage in rest:
            storages.discard(storage)
            self._drop(storage, holders, fits)

    def _drop(self, storage: str, holders: Counter, fits: Dict[str, int]) -> None:
        holders[storage] -= 1
        if not holders[storage]:
            self.live[fits[storage]] -= _FLOAT

    def _free(self, storage: str) -> None:
        """The batch itself stays."""
        column = self.columns[storage]
        if self.values[column].operation != "input":
            self.live[column] -= _FLOAT


def _keeps(value: Value, changed: bool) -> Tuple[List[str], int]:
    """The values that an operation keeps for its gradient, and bytes per element of its output besides."""
    operation = value.operation
    if operation in _INDICES:
        return list(value.inputs), _INDEX
    if operation in _MASKS:
        return [], _FLOAT
    if operation in _KEEP_NOTHING or (operation in _MEAN_TO_ONE and value.positions == 1):
        return [], 0
    if operation in _KEEP_OUTPUT or (changed and operation in _KEEP_OUTPUT_IN_PLACE):
        return [value.name], 0
    return ([], _FLOAT) if changed else (list(value.inputs), 0)  # in place, the input is kept as a copy
