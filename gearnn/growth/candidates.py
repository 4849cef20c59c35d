"""What all growers share: what they are given, what they offer, and how what was picked from it is laid out."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Callable, Dict, Iterable, Iterator, Mapping, Sequence, Tuple

import torch
from torch import Tensor, nn
from torch.func import functional_call

from gearnn.config import GrowthConfig
from gearnn.growth.decision import GrowthDecision, Scores
from gearnn.growth.graph import ChannelGraph, size
from gearnn.growth.surgery import Bank, Layout, matrix_view
from gearnn.losses import logits_of

Batches = Callable[[int], Iterable[Tuple[Tensor, Tensor]]]
"""``batches(epoch)`` → pairs of normalised views (J, B, C, H, W) and labels (B,)."""
Objective = Callable[[Tensor, Tensor], Tensor]
"""Logits (J, B, K) and labels (B,) → the loss to lower."""


@dataclass(frozen=True)
class Task:
    """What a grower works on: a network in eval mode, its channel graph, the data, the loss, the settings and the draws."""

    model: nn.Module
    graph: ChannelGraph
    batches: Batches
    objective: Objective
    config: GrowthConfig
    generator: torch.Generator

    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    def weight(self, path: str) -> Tensor:
        """The weight of a mixing layer as (out, in, rest)."""
        return matrix_view(self.model.get_submodule(path), size(self.graph.layers[path].inputs, {}))

    def loss(self, views: Tensor, labels: Tensor) -> Tensor:
        """Of the network as it is, on views (J, B, C, H, W)."""
        return self.objective(_per_view(self.model(views.flatten(0, 1)), views), labels)

    def draw(self, *shape: int) -> Tensor:
        """Standard normal float32 on the network's device; the draws do not depend on the device."""
        return torch.randn(shape, generator=self.generator).to(self.device())


@dataclass(frozen=True)
class Splitting:
    """What becomes of a split neuron i, as (kept, copy): signs of v in the incoming weights W_i + sign · v, and factors on the
    outgoing ones."""

    signs: Tuple[float, float] = (0.0, 0.0)
    gains: Tuple[float, float] = (0.5, 0.5)


@dataclass(frozen=True)
class Offer:
    """What a grower offers.

    Attributes:
        scores: by group; a group offers as many splits (all or none) and new neurons as have a score.
        splitting: what becomes of split neurons.
        paired: new neurons 2m and 2m + 1 (or blocks of them) cancel each other.
        momentum: (consumer, group) → float32 (w_o, w + K, rest), for the columns of copies and then of new neurons: the gradient
            by them, which their momentum starts at.
    """

    bank: Bank
    scores: Dict[str, Scores]
    splitting: Splitting = Splitting()
    paired: bool = False
    momentum: Dict[Tuple[str, str], Tensor] = field(default_factory=dict)


Grower = Callable[[Task], Offer]


def offered_counts(graph: ChannelGraph, config: GrowthConfig, scored: bool = True) -> Dict[str, int]:
    """How many new neurons each group is offered, at least 16: of those that are scored twice its width, but at most 70 or its
    width; three times its width of those that cost nothing to propose."""
    counts = {}
    for group in graph.groups:
        ample = min(2 * group.width, max(70, group.width)) if scored else 3 * group.width
        wanted = config.new_candidates or max(ample, 16)
        counts[group.name] = 0 if group.whole else -(-wanted // group.block) * group.block
    return counts


def blank_bank(task: Task, counts: Mapping[str, int]) -> Bank:
    """A bank of zeros; depthwise and grouped filters of new neurons get He's variance, since zero ones would never learn."""
    bank = Bank({}, {}, {}, {})
    for group in task.graph.groups:
        count = counts[group.name]
        for path in group.producers:
            weight = task.weight(path)
            bank.split[path] = torch.zeros_like(weight)
            bank.new_rows[path] = weight.new_zeros((count, *weight.shape[1:]))
        for path in group.consumers:
            weight = task.weight(path)
            bank.new_columns[path, group.name] = weight.new_zeros((weight.shape[0], count, weight.shape[2]))
        for path in group.followers:
            shape: Tuple[int, ...] = task.model.get_submodule(path).weight.flatten(2).shape  # type: ignore[operator]
            bank.new_filters[path, group.name] = task.draw(count, *shape[1:]) * (2 / (shape[1] * shape[2])) ** 0.5
    return bank


def he_rows(task: Task, path: str, count: int) -> Tensor:
    """``count`` incoming weights of variance 2 / fan-in (He et al. 2015, arXiv 1502.01852), float32 (count, in, rest)."""
    weight = task.weight(path)
    return task.draw(count, *weight.shape[1:]) * (2 / (weight.shape[1] * weight.shape[2])) ** 0.5


def unscored(task: Task, counts: Mapping[str, int], splits: bool) -> Dict[str, Scores]:
    """Scores of 0 for what is offered: new neurons, or splits where asked for and where a group can only be copied as a whole."""
    return {
        group.name: Scores(torch.zeros(group.width if splits or group.whole else 0), torch.zeros(counts[group.name]))
        for group in task.graph.groups
    }


def everything(task: Task, counts: Mapping[str, int], splitting: Splitting) -> Dict[str, Layout]:
    """Layouts with every neuron as it would be kept, then every copy, then every new neuron."""
    return {
        group.name: _layout(group.width, range(group.width), range(counts[group.name]), splitting, task.device())
        for group in task.graph.groups
    }


def chosen_layouts(
    graph: ChannelGraph, decision: GrowthDecision, splitting: Splitting, device: torch.device
) -> Dict[str, Layout]:
    """The layouts that apply a decision: existing channels in place, then the copies of split ones, then new ones."""
    return {
        group.name: _layout(group.width, growth.split, growth.new, splitting, device)
        for group, growth in zip(graph.groups, decision.groups)
    }


def _layout(width: int, splits: Sequence[int], news: Sequence[int], splitting: Splitting, device: torch.device) -> Layout:
    split, new = torch.tensor(splits, dtype=torch.int64), torch.tensor(news, dtype=torch.int64)
    is_split = torch.zeros(width)
    is_split[split] = 1.0
    source = torch.cat([torch.arange(width), split, new + width])
    sign = torch.cat([splitting.signs[0] * is_split, torch.full((len(split),), splitting.signs[1]), torch.zeros(len(new))])
    kept = 1 - is_split * (1 - splitting.gains[0])
    gain = torch.cat([kept, torch.full((len(split),), splitting.gains[1]), torch.ones(len(new))])
    return Layout(source.to(device), sign.to(device), gain.to(device))


def logits(shell: nn.Module, state: Dict[str, Tensor], views: Tensor) -> Tensor:
    """A widened shell's logits (J, B, K) with these weights."""
    return _per_view(functional_call(shell, state, (views.flatten(0, 1),)), views)


def _per_view(found: Any, views: Tensor) -> Tensor:
    """Logits (J·B, K) as (J, B, K); values per position too, (J·B, K, …), for an objective of the user's own."""
    images = len(views) * views.shape[1]
    dense = isinstance(found, Tensor) and found.ndim > 2 and len(found) == images
    otherwise = ", or grow with random, variance_transfer or net2net, which need no loss"
    return (found if dense else logits_of(found, images, otherwise)).unflatten(0, views.shape[:2])


def first_batches(task: Task) -> Iterator[Tuple[Tensor, Tensor]]:
    """The first ``config.batches`` batches, each in pieces of one size, at most ``config.micro_batch`` images: a widened network
    on a piece must not need more memory than training the present one on a batch, and BatchNorm needs more than one image."""
    for views, labels in islice(task.batches(0), task.config.batches):
        pieces = -(-len(labels) // task.config.micro_batch)
        yield from zip(views.tensor_split(pieces, dim=1), labels.tensor_split(pieces))
