"""One growth step: propose, score, select, apply."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any, Dict, Iterable, Iterator, Mapping, Optional, Tuple, Union

import torch
from torch import Tensor, nn

from gearnn.budget import Constraint, Work, check_reach, constraints, corrected, largest_widths, toward
from gearnn.config import Budget, GrowthConfig
from gearnn.device import full_precision
from gearnn.errors import UserError
from gearnn.growth.candidates import Batches, Objective, Offer, Task, chosen_layouts
from gearnn.growth.carry import carried_momentum, newborn_channels, newborn_weights
from gearnn.growth.decision import GrowthDecision
from gearnn.growth.graph import ChannelGraph, trace_channels
from gearnn.growth.growers import find_grower
from gearnn.growth.preserved import output_difference, remark
from gearnn.growth.select import select
from gearnn.growth.surgery import Bank, widened_model
from gearnn.growth.tracing import evaluating
from gearnn.losses import consistency_loss, logits_of

Loader = Iterable[Tuple[Tensor, Tensor]]
"""Batches of normalised images (B, C, H, W) and labels (B,), as from a DataLoader."""
_ATTEMPTS = 4  # selections, each after a measurement above its limit has corrected the prediction

_NOTHING = (
    "Growth added no channels, though the prediction of {} allowed some: what was measured stayed above the limit until no step "
    "seemed to fit, so grow on a quieter device or raise the limit."
)


@dataclass(frozen=True)
class Check:
    """A budgeted quantity of the grown network: what was predicted from the graph, and what was measured."""

    name: str
    unit: str
    predicted: float
    measured: float


@dataclass(frozen=True)
class Growth:
    """A grown network and what came of it.

    Attributes:
        model: a new module of the same class, in the same mode; the one given is as it was.
        decision: which channels were added, what they cost, and what bound.
        momentum: the optimizer's buffers by parameter name, carried over.
        newborn: parameter name → bool mask of its shape, True for weights that came with growth.
        fixed: layers whose outputs were left as they are, with the reason.
        checks: predictions that were compared with a measurement of the grown network.
        difference: of its outputs from those of the given one (see `output_difference`).
        remarks: what a reader of the result should know.
    """

    model: nn.Module
    decision: GrowthDecision
    momentum: Dict[str, Tensor]
    newborn: Dict[str, Tensor]
    fixed: Dict[str, str]
    checks: Tuple[Check, ...] = ()
    difference: Optional[float] = None
    remarks: Tuple[str, ...] = ()

    def to_dict(self) -> Dict[str, Any]:
        """JSON-ready: the decision, what was left as it was and why, and what was measured of the grown network."""
        checks = [asdict(check) for check in self.checks]
        return {**self.decision.to_dict(), "fixed": self.fixed, "checks": checks, "output_difference": self.difference}


def classification(logits: Tensor, labels: Tensor) -> Tensor:
    """The default objective: the consistency loss, which is cross-entropy of one view.

    Raises:
        UserError: for other values than logits (J, B, K).
    """
    if logits.ndim > 3:
        logits_of(logits.flatten(0, 1), len(logits) * len(labels), ", or give an objective of your own")
    return consistency_loss(logits, labels)


@full_precision()
def grow(
    model: nn.Module,
    batches: Union[Loader, Batches],
    budget: Budget,
    *,
    example_input: Optional[Tensor] = None,
    grower: str = "random",
    config: Optional[GrowthConfig] = None,
    objective: Objective = classification,
    momentum: Optional[Mapping[str, Tensor]] = None,
    limit_fraction: float = 1.0,
    work: Optional[Work] = None,
    seed: int = 0,
) -> Growth:
    """Grow a network once to its budget (the step of One-Shot Growth, GEARnn, arXiv 2410.07691).

    Args:
        model: a traceable convolutional network on normalised images; it is not changed.
        batches: a loader of (images (B, C, H, W), labels (B,)), or ``batches(epoch)``, which iterates over (views
            (J, B, C, H, W), labels (B,)).
        budget: of the grown network; growth takes what lowers the loss most for it.
        example_input: (1, C, H, W), what the network takes; by default the first image of the first batch.
        grower: a name in `gearnn.growth.growers.GROWERS`; docs/growth.md compares them.
        objective: logits (J, B, K) and labels → loss; cross-entropy where J is 1.
        momentum: the optimizer's buffers by parameter name, carried over for old weights.
        limit_fraction: of the way from the present cost to the budget, on a logarithmic scale; below 1 for a step of several.
        work: what the network is to do, for budgets of training memory and latency; by default it is trained on batches like
            these, and deployed as it is on as many threads as torch has.
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
    offered = entry.offered(graph, config)
    work = work or Work(example, len(labels), len(views), torch.get_num_threads(), lambda network: network)
    limits = constraints(budget, model, graph, work, largest_widths(graph, offered, config.round_to))
    limits = tuple(toward(limit, graph, limit_fraction) for limit in limits)
    check_reach(graph, limits, offered, config.round_to)
    task = Task(model, graph, feed, objective, config, torch.Generator().manual_seed(seed))
    with evaluating(model):
        offer = entry.propose(task)
    predicted = limits
    for _ in range(_ATTEMPTS):
        decision = select(
            graph, offer.scores, limits, config.round_to, choice=entry.choice, discount=entry.discount, generator=task.generator
        )
        growth = apply(task, offer, decision, momentum or {})
        checks = tuple(_checked(limit, growth) for limit in predicted if limit.measure is not None)
        measured = {check.name: check.measured for check in checks}
        if all(measured.get(limit.name, 0.0) <= limit.limit for limit in limits):
            break
        limits = tuple(corrected(limit, decision.widths(), measured.get(limit.name)) for limit in limits)
    difference = output_difference(model, growth.model, example)
    changed = remark(grower, difference) if entry.keeps_function else None
    nothing = None if decision.widths() != graph.widths() else _NOTHING.format(decision.bound_by)
    return replace(growth, checks=checks, difference=difference, remarks=tuple(filter(None, (changed, nothing))))


def apply(task: Task, offer: Offer, decision: GrowthDecision, momentum: Mapping[str, Tensor]) -> Growth:
    """The grown network, and the optimizer's state for it."""
    model, graph = task.model, task.graph
    bank = _without_lone_halves(graph, offer.bank, decision) if offer.paired else offer.bank
    grown = widened_model(model, graph, bank, chosen_layouts(graph, decision, offer.splitting, task.device()))
    widths = decision.widths()
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


def _checked(limit: Constraint, growth: Growth) -> Check:
    assert limit.measure is not None
    measured = limit.measure(growth.model)
    if measured > limit.limit:  # a latency, once more: what else runs on the device only adds
        measured = min(measured, limit.measure(growth.model))
    return Check(limit.name, limit.unit, limit.cost(growth.decision.widths()), measured)


def _without_lone_halves(graph: ChannelGraph, bank: Bank, decision: GrowthDecision) -> Bank:
    """A new neuron that was picked without the one that cancels it starts unread."""
    columns = dict(bank.new_columns)
    for group, growth in zip(graph.groups, decision.groups):
        blocks = {new // group.block for new in growth.new}
        lone = [new for new in growth.new if (new // group.block) ^ 1 not in blocks]
        for path in group.consumers:
            columns[path, group.name] = columns[path, group.name].clone()
            columns[path, group.name][:, lone] = 0
    return replace(bank, new_columns=columns)


def _as_views(loader: Loader) -> Batches:
    def batches(epoch: int) -> Iterator[Tuple[Tensor, Tensor]]:
        for images, labels in loader:
            yield images[None], labels

    return batches


def _first(batches: Batches) -> Tuple[Tensor, Tensor]:
    for batch in batches(0):
        return batch
    raise UserError("growth needs at least one batch of images, and the loader gave none")
