"""What a grown network may cost: the limits of a budget as functions of the channel widths."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Callable, Dict, List, Mapping, Optional, Tuple

from torch import Tensor, nn

from gearnn.config import Budget, parsed
from gearnn.costs import Cost, mac_cost, parameter_cost, size_cost, width_cost
from gearnn.engine.export import export_onnx
from gearnn.errors import UserError
from gearnn.growth.graph import ChannelGraph, ChannelGroup
from gearnn.latency import latency_cost, measure_latency, recalibrated
from gearnn.progress import Progress, no_progress
from gearnn.step_memory import measured_memory
from gearnn.train_memory import memory_cost

Measure = Callable[[nn.Module], float]
"""A network → its real value of a budgeted quantity."""


@dataclass(frozen=True)
class Work:
    """What the network is to do, for quantities that depend on it.

    Attributes:
        example_input: (B, C, H, W), whose shape and device count.
        batch_size, views: of training.
        threads: of the engine.
        deploy: makes of the network what the engine runs.
    """

    example_input: Tensor
    batch_size: int
    views: int
    threads: int
    deploy: Callable[[nn.Module], nn.Module]

    def shape(self) -> Tuple[int, int, int]:
        """(C, H, W)."""
        channels, height, width = self.example_input.shape[1:]
        return int(channels), int(height), int(width)


@dataclass(frozen=True)
class Constraint:
    """One limit of a budget.

    Attributes:
        name: of the quantity, such as "parameters".
        unit: "" for counts, "bytes", "ms".
        cost: of a choice of group widths.
        limit: what it may come to.
        option: of the command line that sets it.
        measure: a network's real value, where ``cost`` is a prediction.
    """

    name: str
    unit: str
    cost: Cost
    limit: float
    option: str
    measure: Optional[Measure] = None

    def show(self, value: float) -> str:
        """A value in the option's own terms."""
        if self.unit == "bytes":
            return f"{value / 2**20:,.1f} MiB" if value >= 2**20 else f"{value / 1000:,.1f} kB"
        return f"{value:.3g} ms" if self.unit == "ms" else f"{value:,.0f}"


def check_present_latency(budget: Budget, model: nn.Module, work: Work) -> None:
    """Refuse a latency that the network has not even as it is: measured in seconds, where profiling its layers takes a minute.

    Raises:
        UserError: with the latency that was measured.
        EngineError: if the network cannot be exported.
    """
    if budget.latency_ms is None:
        return
    present = measure_latency(work.deploy(model), work.shape(), work.threads)
    if present >= budget.latency_ms:
        raise UserError(
            f"a budget of {budget.latency_ms:.3g} ms (latency) buys no growth: the network has {present:.3g} ms before it grows, "
            "measured on its engine here; raise --budget.latency-ms or start from a smaller network (--seed-width)"
        )


def constraints(
    budget: Budget,
    model: nn.Module,
    graph: ChannelGraph,
    work: Work,
    largest: Mapping[str, int],
    progress: Progress = no_progress,
) -> Tuple[Constraint, ...]:
    """The limits that a budget sets on the widths; a time limit is not one of them.

    Args:
        largest: width of each group that growth could come to; layers are profiled up to it.

    Raises:
        UserError: if none is set.
        EngineError: for a latency budget, if the network cannot be exported or profiled.
    """
    budget, seed, found = parsed(budget), graph.widths(), []
    if budget.growth_ratio is not None:
        widths = width_cost(graph)
        limit = float(int((1 + budget.growth_ratio) * widths(seed)))
        found.append(Constraint("summed widths", "", widths, limit, "--budget.growth-ratio"))
    if budget.params is not None:
        found.append(Constraint("parameters", "", parameter_cost(model, graph), float(budget.params), "--budget.params"))
    if budget.macs is not None:
        found.append(Constraint("MACs", "", mac_cost(model, graph), float(budget.macs), "--budget.macs"))
    if budget.size is not None:
        cost = size_cost(model, graph, _exported_bytes(work.deploy(model), work))
        exported: Measure = lambda grown: _exported_bytes(work.deploy(grown), work)  # noqa: E731
        found.append(Constraint("model bytes", "bytes", cost, float(budget.size), "--budget.size", exported))
    if budget.train_memory is not None:
        cost = memory_cost(model, graph, work.batch_size * work.views)
        memory: Measure = lambda grown: measured_memory(grown, work.example_input, work.batch_size, work.views)  # noqa: E731
        found.append(Constraint("training memory", "bytes", cost, float(budget.train_memory), "--budget.train-memory", memory))
    if budget.latency_ms is not None:
        cost = latency_cost(
            graph,
            model,
            work.shape(),
            threads=work.threads,
            largest=largest,
            near_ms=budget.latency_ms,
            deploy=work.deploy,
            progress=progress,
        )
        latency: Measure = lambda grown: measure_latency(work.deploy(grown), work.shape(), work.threads)  # noqa: E731
        found.append(Constraint("latency", "ms", cost, budget.latency_ms, "--budget.latency-ms", latency))
    if not found:
        raise UserError("a budget needs a limit, such as growth_ratio=0.9, params='1M', macs, size, train_memory or latency_ms")
    return tuple(found)


def _exported_bytes(model: nn.Module, work: Work) -> float:
    """Of the network's ONNX file."""
    with TemporaryDirectory() as folder:
        return float(export_onnx(model, work.shape(), Path(folder) / "model.onnx").stat().st_size)


def corrected(limit: Constraint, widths: Mapping[str, int], measured: Optional[float]) -> Constraint:
    """The same limit, its prediction scaled to what was measured at these widths, if that was above the limit."""
    if measured is None or measured <= limit.limit:
        return limit
    return replace(limit, cost=recalibrated(limit.cost, measured, limit.cost(widths)))


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
    largest = largest_widths(graph, offered, round_to)
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
    if not any(all(limit.cost(widths) <= limit.limit for limit in limits) for widths in smallest):
        raise UserError(
            f"no step of growth in multiples of {round_to} keeps all limits at once, though each alone allows one: raise "
            f"{' or '.join(limit.option for limit in limits)}"
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


def largest_widths(graph: ChannelGraph, offered: Mapping[str, int], round_to: int) -> Dict[str, int]:
    """The width of every group where all its candidates are taken."""
    return {group.name: largest_width(group, offered[group.name], round_to) for group in graph.groups}


def smallest_steps(graph: ChannelGraph, offered: Mapping[str, int], round_to: int) -> List[Mapping[str, int]]:
    """The widths after the first step, one choice for every group that can take it."""
    seed = graph.widths()
    return [
        {**seed, group.name: next_width(group, group.width, round_to)}
        for group in graph.groups
        if next_width(group, group.width, round_to) <= group.width + offered[group.name]
    ]
