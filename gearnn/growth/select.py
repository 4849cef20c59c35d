"""What the budget buys: one greedy selection over the candidates of all layers."""

from __future__ import annotations

from typing import Dict, List, Mapping, Optional, Tuple

from gearnn.budget import Cost
from gearnn.errors import UserError
from gearnn.growth.decision import GroupGrowth, GrowthDecision, Scores
from gearnn.growth.graph import ChannelGraph, ChannelGroup
from gearnn.kernels.arrays import to_host
from gearnn.kernels.score import top_k


class _Queue:
    """A group's candidates, best first, handed out in steps that end on multiples of ``round_to``."""

    def __init__(self, group: ChannelGroup, scores: Scores, affordable: int, round_to: int) -> None:
        self.group = group
        self.round_to = round_to
        self.width = group.width
        self.left = len(scores.split) + len(scores.new)
        self.taken = 0
        # Ranked where the scores lie; only what the budget could buy leaves the device.
        best = top_k([scores.split, scores.new], affordable, largest=False)
        self.kinds, self.positions, self.values = (to_host(array) for array in best)

    def step(self) -> Optional[int]:
        """How many candidates lead to the next allowed width; None if too few are left."""
        count = (self.width // self.round_to + 1) * self.round_to - self.width
        return count if count <= self.left else None

    def gain(self, count: int) -> float:
        return float(self.values[self.taken : self.taken + count].sum())

    def take(self, count: int) -> None:
        self.taken += count
        self.left -= count
        self.width += count

    def result(self) -> GroupGrowth:
        kinds, positions = self.kinds[: self.taken], self.positions[: self.taken]
        split, new = (tuple(sorted(int(position) for position in positions[kinds == kind])) for kind in (0, 1))
        return GroupGrowth(self.group.name, self.group.width, self.width, split, new, float(self.values[: self.taken].sum()))


def select(
    graph: ChannelGraph, scores: Mapping[str, Scores], unit: str, cost: Cost, limit: int, round_to: int = 8
) -> GrowthDecision:
    """Take the candidates that lower the loss most per unit of cost until the budget binds (Firefly's global greedy choice).

    Each step lifts one group to its next multiple of ``round_to``; widths that start off a multiple are lifted to one first.

    Args:
        scores: group name → first-order changes of the loss (lower is better), for splits (w,) and new neurons (K,).
        unit: what ``cost`` counts, for messages.
        limit: the cost that may not be exceeded.

    Raises:
        UserError: if the budget does not reach the first step; the message names the smallest one that does.
    """
    check_reach(graph, unit, cost, limit, round_to)
    queues = []
    for group in graph.groups:
        offered = len(scores[group.name].split) + len(scores[group.name].new)
        queues.append(_Queue(group, scores[group.name], _affordable(graph, group, offered, cost, limit), round_to))
    before = cost(_widths(queues))
    for queue in queues:
        step = queue.step()
        if queue.width % round_to and step is not None:
            queue.take(step)
    bound_by = unit if _buy(queues, cost, limit) else "candidates"
    groups = tuple(queue.result() for queue in queues)
    return GrowthDecision(groups, unit, before, cost(_widths(queues)), limit, bound_by)


def check_reach(graph: ChannelGraph, unit: str, cost: Cost, limit: int, round_to: int) -> None:
    """Make sure, before anything is trained, that a budget buys at least one step.

    Raises:
        UserError: if it does not; the message names the smallest one that does.
    """
    seed = {group.name: group.width for group in graph.groups}
    rounded = {name: -(-width // round_to) * round_to for name, width in seed.items()}
    if rounded == seed:
        rounded_up = min(({**seed, name: width + round_to} for name, width in seed.items()), key=cost)
    else:
        rounded_up = rounded
    if cost(rounded_up) > limit:
        raise UserError(
            f"a budget of {limit:,} {unit} buys no growth: the smallest step in multiples of {round_to} comes to "
            f"{cost(rounded_up):,}; raise the budget or lower --growth.round-to"
        )


def _affordable(graph: ChannelGraph, group: ChannelGroup, most: int, cost: Cost, limit: int) -> int:
    """How many of a group's candidates the budget buys if no other group grows; where others grow, it buys no more."""
    seed = {other.name: other.width for other in graph.groups}
    return sum(cost({**seed, group.name: group.width + count}) <= limit for count in range(1, most + 1))


def _buy(queues: List[_Queue], cost: Cost, limit: int) -> bool:
    """Take steps, best value per cost first; returns whether the limit refused any."""
    refused = False
    open_queues = list(queues)
    while open_queues:
        present = cost(_widths(queues))
        offers: List[Tuple[float, int, _Queue]] = []
        for queue in list(open_queues):
            count = queue.step()
            if count is None:
                open_queues.remove(queue)
                continue
            total = cost({**_widths(queues), queue.group.name: queue.width + count})
            if total > limit:
                # Costs only rise as other groups grow, so what does not fit now never will.
                refused = True
                open_queues.remove(queue)
            else:
                offers.append((_value(queue.gain(count), total - present), count, queue))
        if offers:
            _, count, queue = min(offers, key=lambda offer: offer[0])
            queue.take(count)
    return refused


def _value(gain: float, cost: int) -> float:
    """Change of the loss per unit of cost, lower is better; where the loss would rise, dearer is worse."""
    return gain / cost if gain < 0 else gain * cost


def _widths(queues: List[_Queue]) -> Dict[str, int]:
    return {queue.group.name: queue.width for queue in queues}
