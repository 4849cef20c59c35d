"""One growth step: propose, score, select, apply."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Dict, Iterable, Iterator, Mapping, Optional, Tuple, Union

import torch
from torch import Tensor, nn

from gearnn.budget import LatencyCost, check_reach, constraints, toward
from gearnn.config import Budget, GrowthConfig
from gearnn.errors import UserError
from gearnn.growth.candidates import Batches, Objective, Offer, Task, chosen_layouts
from gearnn.growth.carry import carried_momentum, newborn_channels, newborn_weights
from gearnn.growth.decision import GrowthDecision
from gearnn.growth.graph import ChannelGraph, trace_channels
from gearnn.growth.growers import find_grower
from gearnn.growth.select import select
from gearnn.growth.surgery import widened_model
from gearnn.losses import consistency_loss

Loader = Iterable[Tuple[Tensor, Tensor]]
"""Batches of normalised images (B, C, H, W) and labels (B,), as from a DataLoader."""


@dataclass(frozen=True)
class Growth:
    """A grown network and what came of it.

    Attributes:
        model: a new module of the same class, in the same mode; the one given is as it was.
        decision: which channels were added, what they cost, and what bound.
        momentum: the optimizer's buffers by parameter name, carried over.
        newborn: parameter name → bool mask of its shape, True for weights that came with growth.
        fixed: layers whose outputs were left as they are, with the reason.
    """

    model: nn.Module
    decision: GrowthDecision
    momentum: Dict[str, Tensor]
    newborn: Dict[str, Tensor]
    fixed: Dict[str, str]


def grow(
    model: nn.Module,
    batches: Union[Loader, Batches],
    budget: Budget,
    *,
    example_input: Optional[Tensor] = None,
    grower: str = "osg",
    config: Optional[GrowthConfig] = None,
    objective: Objective = consistency_loss,
    momentum: Optional[Mapping[str, Tensor]] = None,
    limit_fraction: float = 1.0,
    latency: Optional[LatencyCost] = None,
    seed: int = 0,
) -> Growth:
    """Grow a network once to its budget (the step of One-Shot Growth, GEARnn, arXiv 2410.07691).

    Args:
        model: a traceable convolutional network on normalised images; it is not changed.
        batches: a loader of (images (B, C, H, W), labels (B,)), or ``batches(epoch)``, which iterates over (views
            (J, B, C, H, W), labels (B,)).
        budget: of the grown network; growth takes what lowers the loss most for it.
        example_input: (1, C, H, W), what the network takes; by default the first image of the first batch.
        grower: a name in `gearnn.growth.growers.GROWERS`.
        objective: logits (J, B, K) and labels → loss; cross-entropy where J is 1.
        momentum: the optimizer's buffers by parameter name, carried over for old weights.
        limit_fraction: of the way from the present cost to the budget, on a logarithmic scale; below 1 for a step of several.
        seed: decides the candidates' initial weights.

    Raises:
        UserError: for a network that cannot be traced or has nothing to grow, or a budget out of reach.
    """
    config, entry = config or GrowthConfig(), find_grower(grower)
    feed = batches if callable(batches) else _as_views(batches)
    views, labels = _first(feed)
    example = views[0, :1] if example_input is None else example_input
    graph = trace_channels(model, example)
    if not graph.groups:
        reasons = "; ".join(f"{layer}: {reason}" for layer, reason in graph.fixed.items())
        raise UserError(f"this network has no channels that can be grown ({reasons or 'no convolutions found'})")
    training = {"batch_size": len(labels), "views": len(views)}
    limits = constraints(budget, model, graph, example_input=example, latency=latency, **training)
    limits = tuple(toward(limit, graph, limit_fraction) for limit in limits)
    check_reach(graph, limits, entry.offered(graph, config), config.round_to)
    was_training = model.training
    model.eval()
    try:
        task = Task(model, graph, feed, objective, config, torch.Generator().manual_seed(seed))
        offer = entry.propose(task)
    finally:
        model.train(was_training)
    decision = select(
        graph, offer.scores, limits, config.round_to, choice=entry.choice, discount=entry.discount, generator=task.generator
    )
    return apply(task, offer, decision, momentum or {})


def apply(task: Task, offer: Offer, decision: GrowthDecision, momentum: Mapping[str, Tensor]) -> Growth:
    """The grown network, and the optimizer's state for it."""
    model, graph, bank = task.model, task.graph, offer.bank
    if offer.paired:
        _silence_halves(graph, offer, decision)
    grown = widened_model(model, graph, bank, chosen_layouts(graph, decision, offer.splitting, task.device()))
    widths = {growth.name: growth.after for growth in decision.groups}
    carried = carried_momentum(graph, momentum, grown, widths)
    for (path, name), gradient in offer.momentum.items():
        buffer, layer = carried.get(f"{path}.weight"), graph.layers[path]
        if buffer is not None:
            growth = decision.group(name)
            picked = [*growth.split, *(graph.group(name).width + new for new in growth.new)]
            places = newborn_channels(layer.inputs, name, widths).to(buffer.device)
            matrix = buffer.view(len(buffer), -1, gradient.shape[2])
            matrix[: len(gradient), places] = gradient[:, picked].to(buffer.device)
    return Growth(grown, decision, carried, newborn_weights(graph, grown, widths), graph.fixed)


def _silence_halves(graph: ChannelGraph, offer: Offer, decision: GrowthDecision) -> None:
    """A new neuron that was picked without the one that cancels it starts unread."""
    for group, growth in zip(graph.groups, decision.groups):
        blocks = {new // group.block for new in growth.new}
        lone = [new for new in growth.new if (new // group.block) ^ 1 not in blocks]
        for path in group.consumers:
            offer.bank.new_columns[path, group.name][:, lone] = 0


def _as_views(loader: Loader) -> Batches:
    def batches(epoch: int) -> Iterator[Tuple[Tensor, Tensor]]:
        for images, labels in loader:
            yield images[None], labels

    return batches


def _first(batches: Batches) -> Tuple[Tensor, Tensor]:
    for batch in batches(0):
        return batch
    raise UserError("growth needs at least one batch of images, and the loader gave none")
