"""Budgets: what they limit, when they cannot be met, and how a prediction is corrected."""

from __future__ import annotations

from typing import Any, Dict, Tuple

import pytest
import torch
from torch import nn

from gearnn import budget as budgets
from gearnn.budget import Constraint, Work, check_reach, constraints, corrected, largest_widths, next_width, toward
from gearnn.config import Budget
from gearnn.errors import UserError
from gearnn.growth.graph import ChannelGraph, ChannelGroup, trace_channels
from gearnn.models import count_parameters, create_model, scaled_widths

WORK = Work(torch.randn(1, 3, 32, 32), 32, 1, 1, lambda model: model)


@pytest.fixture()
def seed() -> nn.Module:
    return create_model("vgg19", 10, scaled_widths("vgg19", 1 / 8))


def _limits(seed: nn.Module, **given: Any) -> Tuple[ChannelGraph, Tuple[Constraint, ...]]:
    graph = trace_channels(seed, WORK.example_input)
    return graph, constraints(Budget(**given), seed, graph, WORK, graph.widths())


def test_every_limit_that_is_given_holds(seed: nn.Module) -> None:
    graph, limits = _limits(seed, growth_ratio=0.9, params="1M", macs="50M", size="4MB", train_memory="512MiB")
    found = {limit.name: limit for limit in limits}
    assert [limit.limit for limit in limits] == [int(1.9 * sum(scaled_widths("vgg19", 1 / 8))), 1e6, 5e7, 4e6, 2**29]
    assert found["parameters"].cost(graph.widths()) == count_parameters(seed)
    assert [limit.name for limit in limits if limit.measure is not None] == ["model bytes", "training memory"]


def test_latency_is_profiled_for_this_network_and_these_threads(seed: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: Dict[str, Any] = {}

    def profiled(graph: ChannelGraph, model: nn.Module, shape: object, **given: Any) -> Any:
        asked.update(shape=shape, **given)
        return lambda widths: 1e-3 * sum(widths.values())

    monkeypatch.setattr(budgets, "latency_cost", profiled)
    monkeypatch.setattr(budgets, "measure_latency", lambda model, shape, threads: 0.75)
    graph, (limit,) = _limits(seed, latency_ms=2.5)
    assert (asked["shape"], asked["threads"], asked["largest"], asked["near_ms"]) == ((3, 32, 32), 1, graph.widths(), 2.5)
    assert limit.limit == 2.5 and limit.measure is not None and limit.measure(seed) == 0.75


def test_no_limit_at_all_is_an_error(seed: nn.Module) -> None:
    with pytest.raises(UserError, match="needs a limit"):
        _limits(seed, train_time="10m")


def test_a_budget_below_the_network_names_what_can_be_reached(seed: nn.Module) -> None:
    graph, limits = _limits(seed, params=1000)
    offered = {group.name: 2 * group.width for group in graph.groups}
    with pytest.raises(
        UserError, match=r"a budget of 1,000 \(parameters\) buys no growth: the network has .* largest growth to .*"
    ):
        check_reach(graph, limits, offered, 8)


def test_a_budget_above_all_candidates_names_what_can_be_reached(seed: nn.Module) -> None:
    graph, limits = _limits(seed, params="1G", growth_ratio=900.0)
    offered = {group.name: group.width for group in graph.groups}
    largest = limits[0].cost(largest_widths(graph, offered, 8))
    with pytest.raises(UserError, match=f"above what one step of growth can use, from .* to {largest:,.0f}"):
        check_reach(graph, limits, offered, 8)
    check_reach(graph, _limits(seed, params="1G", growth_ratio=0.5)[1], offered, 8)  # one of them binds


def test_limits_that_no_single_step_keeps_are_an_error() -> None:
    groups = tuple(ChannelGroup(name, 8, 1, False, (name,), (), (), ("c",)) for name in "ab")
    graph, offered = ChannelGraph(groups, {}, {}, ()), {"a": 16, "b": 16}
    flat = Constraint("a", "", lambda widths: widths["a"], 12.0, "--a")
    tight = Constraint("b", "", lambda widths: widths["b"], 12.0, "--b")
    check_reach(graph, (flat,), offered, 8)
    check_reach(graph, (tight,), offered, 8)
    with pytest.raises(UserError, match="keeps all limits at once.* raise --a or --b"):
        check_reach(graph, (flat, tight), offered, 8)


def test_values_are_shown_in_the_units_of_the_option() -> None:
    memory = Constraint("training memory", "bytes", lambda widths: 0.0, 1.0, "--budget.train-memory")
    assert (memory.show(3 * 2**20), memory.show(4096.0)) == ("3.0 MiB", "4.1 kB")
    assert Constraint("latency", "ms", lambda widths: 0.0, 1.0, "").show(1.234) == "1.23 ms"


def test_part_of_the_way_is_measured_on_a_logarithmic_scale() -> None:
    graph = _graph(8)
    limit = Constraint("summed widths", "", lambda widths: widths["a"], 32.0, "")
    assert toward(limit, graph, 0.5).limit == pytest.approx(16)
    assert toward(limit, graph, 1.0) is limit


def test_a_prediction_that_fell_short_is_scaled_to_the_measurement() -> None:
    limit = Constraint("latency", "ms", lambda widths: float(widths["a"]), 10.0, "")
    assert corrected(limit, {"a": 9}, 9.9) is limit and corrected(limit, {"a": 9}, None) is limit
    assert corrected(limit, {"a": 9}, 12.0).cost({"a": 9}) == pytest.approx(12.0)


def _graph(width: int, block: int = 1, whole: bool = False) -> ChannelGraph:
    return ChannelGraph((ChannelGroup("a", width, block, whole, ("a",), (), (), ("b",)),), {}, {}, ())


@pytest.mark.parametrize(
    ("width", "block", "whole", "round_to", "expected"),
    [(8, 1, False, 8, 16), (5, 1, False, 8, 8), (12, 4, False, 8, 16), (12, 3, False, 8, 24), (18, 18, True, 8, 36)],
)
def test_steps_end_on_multiples_that_blocks_allow(width: int, block: int, whole: bool, round_to: int, expected: int) -> None:
    (group,) = _graph(width, block, whole).groups
    assert next_width(group, width, round_to) == expected
    largest = largest_widths(_graph(width, block, whole), {"a": 40}, round_to)["a"]
    assert largest == (2 * width if whole else largest) and largest % block == 0 and largest - width <= 40


def test_a_latency_below_that_of_the_network_itself_is_refused_at_once(seed: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    work = Work(torch.zeros(1, 3, 32, 32), 8, 1, 1, lambda model: model)
    monkeypatch.setattr(budgets, "measure_latency", lambda model, shape, threads: 0.75)
    with pytest.raises(UserError, match=r"0\.5 ms .* the network has 0\.75 ms before it grows.* raise --budget\.latency-ms"):
        budgets.check_present_latency(Budget(latency_ms=0.5), seed, work)
    budgets.check_present_latency(Budget(latency_ms=0.8), seed, work)
    budgets.check_present_latency(Budget(params=5), seed, work)
