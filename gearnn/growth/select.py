"""What the budget buys: a greedy knapsack over the candidates of all groups, with true marginal costs."""

from __future__ import annotations

from typing import Dict, List, Mapping, Optional, Sequence, Tuple

import numpy as np
import torch

from gearnn.budget import Constraint, largest_width, next_width
from gearnn.growth.decision import GroupGrowth, GrowthDecision, Scores, Usage
from gearnn.growth.graph import ChannelGraph, ChannelGroup
from gearnn.kernels.arrays import to_host
from gearnn.kernels.score import top_k


class _Queue:
    """A group's candidates in blocks, best first, handed out in steps that end on allowed widths."""

    def __init__(self, group: ChannelGroup, scores: Scores, round_to: int, ranked: bool) -> None:
        self.group, self.round_to, self.width, self.taken = group, round_to, group.width, 0
        blocks = [kind.reshape(-1, group.block).sum(1) for kind in (scores.split, scores.new)]
        self.left = sum(len(kind) for kind in blocks)
        if ranked:  # where the scores lie
            self.kinds, self.places, self.values = (to_host(array) for array in top_k(blocks, self.left, largest=False))
        else:
            self.kinds = np.repeat([0, 1], [len(kind) for kind in blocks])
            self.places = np.concatenate([np.arange(len(kind)) for kind in blocks])
            self.values = np.concatenate([np.asarray(to_host(kind), np.float64) for kind in blocks])

    def step(self) -> Optional[int]:
        """How many blocks lead to the next allowed width; None if too few are left."""
        count = (next_width(self.group, self.width, self.round_to) - self.width) // self.group.block
        return count if 0 < count <= self.left else None

    def gain(self, count: int) -> float:
        return float(self.values[self.taken : self.taken + count].sum())

    def take(self, count: int) -> None:
        self.taken += count
        self.left -= count
        self.width += count * self.group.block

    def picked(self, kind: int) -> Tuple[int, ...]:
        """Candidate indices of one kind."""
        blocks = np.sort(self.places[: self.taken][self.kinds[: self.taken] == kind])
        offsets = np.arange(self.group.block)
        return tuple(int(place) for place in (blocks[:, None] * self.group.block + offsets).ravel())


def select(
    graph: ChannelGraph,
    scores: Mapping[str, Scores],
    limits: Sequence[Constraint],
    round_to: int = 8,
    *,
    choice: str = "scored",
    discount: float = 0.0,
    generator: Optional[torch.Generator] = None,
) -> GrowthDecision:
    """Take candidates until the budget binds; each step lifts one group to its next multiple of ``round_to`` (or block).

    Args:
        scores: group name → changes of the loss (lower is better), for splits and new neurons; their numbers say what is offered.
        limits: none of which may be exceeded.
        choice: "scored": what lowers the loss most for its share of the budget goes first (Firefly's global greedy choice, per
            cost); "uniform": all groups grow by the same factor, candidates in order; "random": one group after the other.
        discount: gains of a group count by (its width before / its present width) to this power: the wider it has become, the
            less what was measured before growth still holds.
        generator: for "random".
    """
    queues = [_Queue(group, scores[group.name], round_to, choice == "scored") for group in graph.groups]
    if choice == "uniform":
        _grow_alike(queues, limits)
    refused = _buy(queues, limits, choice, discount, generator or torch.Generator().manual_seed(0))
    widths = _widths(queues)
    groups = tuple(_result(queue, widths, limits) for queue in queues)
    seed = graph.widths()
    usage = tuple(Usage(limit.name, limit.unit, limit.cost(seed), limit.cost(widths), limit.limit) for limit in limits)
    bound_by = max(usage, key=lambda one: (one.name in refused, one.after / one.limit)).name if refused else "candidates"
    return GrowthDecision(groups, usage, bound_by)


def _buy(
    queues: Sequence[_Queue], limits: Sequence[Constraint], choice: str, discount: float, generator: torch.Generator
) -> List[str]:
    """Take steps, best value first; returns the names of the limits that refused any."""
    refused: List[str] = []
    open_queues = list(queues)
    while open_queues:
        present = [limit.cost(_widths(queues)) for limit in limits]
        offers: List[Tuple[float, int, _Queue]] = []
        for queue in list(open_queues):
            count = queue.step()
            if count is None:
                open_queues.remove(queue)
                continue
            widths = {**_widths(queues), queue.group.name: queue.width + count * queue.group.block}
            costs = [limit.cost(widths) for limit in limits]
            over = [limit.name for limit, cost in zip(limits, costs) if cost > limit.limit]
            if over:  # costs only rise as other groups grow, so what does not fit now never will
                refused += over
                open_queues.remove(queue)
                continue
            share = max((cost - before) / limit.limit for limit, cost, before in zip(limits, costs, present))
            if choice == "scored":
                value = _value(queue.gain(count) * (queue.group.width / queue.width) ** discount, share)
            else:
                value = float(torch.rand((), generator=generator)) if choice == "random" else queue.width / queue.group.width
            offers.append((value, count, queue))
        if offers:
            _, count, queue = min(offers, key=lambda offer: offer[0])
            queue.take(count)
    return refused


def _value(gain: float, share: float) -> float:
    """Change of the loss per share of the budget, lower is better; where the loss would rise, dearer is worse."""
    share = max(share, 1e-12)
    return gain / share if gain < 0 else gain * share


def _grow_alike(queues: Sequence[_Queue], limits: Sequence[Constraint]) -> None:
    """All groups by the largest common factor that fits; what is left over goes to those that fell behind by rounding."""

    def counts(factor: float) -> List[int]:
        found = []
        for group, queue in ((queue.group, queue) for queue in queues):
            most = min(queue.left * group.block, int(factor * group.width) - group.width)
            found.append((largest_width(group, most, queue.round_to) - group.width) // group.block)
        return found

    def fits(factor: float) -> bool:
        widths = {queue.group.name: queue.width + blocks * queue.group.block for queue, blocks in zip(queues, counts(factor))}
        return all(limit.cost(widths) <= limit.limit for limit in limits)

    low, high = 1.0, 64.0
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    for queue, blocks in zip(queues, counts(low)):
        queue.take(blocks)


def _result(queue: _Queue, widths: Dict[str, int], limits: Sequence[Constraint]) -> GroupGrowth:
    name, before = queue.group.name, queue.group.width
    cost = {limit.name: limit.cost(widths) - limit.cost({**widths, name: before}) for limit in limits}
    score = float(queue.values[: queue.taken].sum())
    return GroupGrowth(name, before, queue.width, queue.picked(0), queue.picked(1), score, cost)


def _widths(queues: Sequence[_Queue]) -> Dict[str, int]:
    return {queue.group.name: queue.width for queue in queues}
