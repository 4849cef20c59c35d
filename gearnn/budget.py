"""What a grown network may cost: the limits of a budget as functions of the channel widths."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Callable, List, Mapping, Optional, Tuple

from torch import Tensor, nn

from gearnn.config import Budget, parsed
from gearnn.costs import Cost, mac_cost, parameter_cost, size_cost, width_cost
from gearnn.engine.export import export_onnx
from gearnn.errors import UserError
from gearnn.growth.graph import ChannelGraph, ChannelGroup
from gearnn.train_memory import memory_cost

LatencyCost = Callable[[], Cost]
"""Makes the latency's cost function, in ms; called only where latency is budgeted, since layers are profiled for it."""


@dataclass(frozen=True)
class Constraint:
    """One limit of a budget.

    Attributes:
        name: of the quantity, such as "parameters".
        unit: "" for counts, "bytes", "ms".
        cost: of a choice of group widths.
        limit: what it may come to.
        option: of the command line that sets it.
    """

    name: str
    unit: str
    cost: Cost
    limit: float
    option: str

    def show(self, value: float) -> str:
        """A value in the option's own terms."""
        if self.unit == "bytes":
            return f"{value / 2**20:,.1f} MiB" if value >= 2**20 else f"{value / 1000:,.1f} kB"
        return f"{value:.3g} ms" if self.unit == "ms" else f"{value:,.0f}"


def constraints(
    budget: Budget,
    model: nn.Module,
    graph: ChannelGraph,
    *,
    example_input: Tensor,
    batch_size: int,
    views: int = 1,
    latency: Optional[LatencyCost] = None,
) -> Tuple[Constraint, ...]:
    """The limits that a budget sets on the widths; a time limit is not one of them.

    Args:
        example_input: (1, C, H, W).
        batch_size, views: of training, for its memory.
        latency: for a latency budget.

    Raises:
        UserError: if none is set, or one of them is not above what the network already takes.
    """
    budget, seed, found = parsed(budget), graph.widths(), []
    if budget.growth_ratio is not None:
        widths = width_cost(graph)
        limit = int((1 + budget.growth_ratio) * widths(seed))
        found.append(Constraint("summed widths", "", widths, limit, "--budget.growth-ratio"))
    if budget.params is not None:
        found.append(Constraint("parameters", "", parameter_cost(model, graph), float(budget.params), "--budget.params"))
    if budget.macs is not None:
        found.append(Constraint("MACs", "", mac_cost(model, graph), float(budget.macs), "--budget.macs"))
    if budget.size is not None:
        cost = size_cost(model, graph, _exported_bytes(model, example_input))
        found.append(Constraint("model bytes", "bytes", cost, float(budget.size), "--budget.size"))
    if budget.train_memory is not None:
        cost = memory_cost(model, graph, batch_size * views)
        found.append(Constraint("training memory", "bytes", cost, float(budget.train_memory), "--budget.train-memory"))
    if budget.latency_ms is not None:
        if latency is None:
            raise UserError("a latency budget needs a runtime to measure on: install onnxruntime, or leave out latency_ms")
        found.append(Constraint("latency", "ms", latency(), budget.latency_ms, "--budget.latency-ms"))
    if not found:
        raise UserError("a budget needs a limit, such as growth_ratio=0.9, params='1M', macs, size, train_memory or latency_ms")
    return tuple(found)


def _exported_bytes(model: nn.Module, example_input: Tensor) -> int:
    """Of the network's ONNX file."""
    with TemporaryDirectory() as folder:
        channels, height, width = (int(side) for side in example_input.shape[1:])
        return export_onnx(model, (channels, height, width), Path(folder) / "model.onnx").stat().st_size


def toward(limit: Constraint, graph: ChannelGraph, fraction: float) -> Constraint:
    """A limit part of the way from the present cost, on a logarithmic scale."""
    before = limit.cost(graph.widths())
    return limit if fraction >= 1 else replace(limit, limit=before * (limit.limit / before) ** fraction)


def check_reach(graph: ChannelGraph, limits: Tuple[Constraint, ...], offered: Mapping[str, int], round_to: int) -> None:
    """Make sure, before anything is trained, that a budget buys at least one step and does not ask for more than there is.

    Args:
        offered: candidates by group.

    Raises:
        UserError: naming the smallest and the largest that can be reached, if the budget is below or above.
    """
    seed, smallest = graph.widths(), smallest_steps(graph, offered, round_to)
    largest = {group.name: largest_width(group, offered[group.name], round_to) for group in graph.groups}
    if not smallest:
        raise UserError(f"no layer can grow to a multiple of {round_to} channels: lower --growth.round-to")
    for limit in limits:
        least = min(limit.cost(widths) for widths in smallest)
        if least > limit.limit:
            present = limit.cost(seed)
            raise UserError(
                f"a budget of {limit.show(limit.limit)} ({limit.name}) buys no growth: the network has "
                f"{limit.show(present)}, its smallest step comes to {limit.show(least)} and its largest growth to "
                f"{limit.show(limit.cost(largest))}; raise "
                f"{limit.option}, lower --growth.round-to or start from a smaller network"
            )
    if all(limit.cost(largest) < limit.limit for limit in limits):
        limit = max(limits, key=lambda one: one.cost(largest) / one.limit)
        least = min(limit.cost(widths) for widths in smallest)
        raise UserError(
            f"a budget of {limit.show(limit.limit)} ({limit.name}) is above what one step of growth can use, from "
            f"{limit.show(least)} to {limit.show(limit.cost(largest))}: lower {limit.option}, "
            "raise --growth.new-candidates, or grow in more steps with --shots"
        )


def next_width(group: ChannelGroup, width: int, round_to: int) -> int:
    """The width that one step from ``width`` leads to: the next multiple of ``round_to`` that its blocks allow."""
    if group.whole:
        return 2 * group.width
    step = round_to
    while step % group.block:
        step += round_to
    return (width // step + 1) * step


def largest_width(group: ChannelGroup, offered: int, round_to: int) -> int:
    """The width that all steps lead to that there are candidates for."""
    width = group.width
    while next_width(group, width, round_to) <= group.width + offered and not (group.whole and width > group.width):
        width = next_width(group, width, round_to)
    return width


def smallest_steps(graph: ChannelGraph, offered: Mapping[str, int], round_to: int) -> List[Mapping[str, int]]:
    """The widths after the first step, one choice for every group that can take it."""
    seed = graph.widths()
    return [
        {**seed, group.name: next_width(group, group.width, round_to)}
        for group in graph.groups
        if next_width(group, group.width, round_to) <= group.width + offered[group.name]
    ]
