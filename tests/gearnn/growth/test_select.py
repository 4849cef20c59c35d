"""What the budget buys."""

from __future__ import annotations

from typing import Callable, Dict

import numpy as np
import pytest
import torch
from torch import nn

from gearnn.budget import cost_and_limit
from gearnn.config import Budget
from gearnn.errors import UserError
from gearnn.growth.decision import Scores
from gearnn.growth.graph import ChannelGraph, ChannelGroup, trace_channels
from gearnn.growth.select import select


def _graph(widths: Dict[str, int]) -> ChannelGraph:
    return ChannelGraph(tuple(ChannelGroup(name, width, (name,), (), (), ()) for name, width in widths.items()), {})


def _cost(widths: Dict[str, int]) -> int:
    return sum(widths.values())


def _scores(split: float, new: float, width: int, count: int) -> Scores:
    return Scores(np.linspace(split, split / 2, width), np.linspace(new, new / 2, count))


def test_the_best_candidates_come_first_within_and_across_groups() -> None:
    scores = {"a": _scores(-1.0, -10.0, 8, 16), "b": _scores(-2.0, -2.0, 8, 16)}
    decision = select(_graph({"a": 8, "b": 8}), scores, "summed widths", _cost, limit=24)
    a, b = decision.groups
    assert (a.after, b.after) == (16, 8)
    assert a.split == () and a.new == tuple(range(8))
    assert a.score == pytest.approx(scores["a"].new[:8].sum())
    assert decision.bound_by == "summed widths"
    assert (decision.complexity_before, decision.complexity_after) == (16, 24)


def test_value_is_weighed_against_cost() -> None:
    scores = {"dear": _scores(-1.0, -3.0, 8, 8), "cheap": _scores(-1.0, -2.0, 8, 8)}
    dear = select(_graph({"dear": 8, "cheap": 8}), scores, "parameters", lambda w: 10 * w["dear"] + w["cheap"], limit=96)
    assert [group.after for group in dear.groups] == [8, 16]


@pytest.mark.parametrize("round_to", [1, 4, 8])
def test_widths_come_out_in_multiples(round_to: int) -> None:
    widths = {"a": 5, "b": 12, "c": 16}
    scores = {name: _scores(-1.0, -1.5, width, 40) for name, width in widths.items()}
    decision = select(_graph(widths), scores, "summed widths", _cost, limit=70, round_to=round_to)
    for group in decision.groups:
        assert group.after % round_to == 0
        assert group.after == group.before + len(group.split) + len(group.new)
    assert decision.complexity_after <= 70


def test_scores_are_ranked_where_they_lie() -> None:
    """As tensors as well as NumPy arrays; equal candidates in order, splits first."""
    scores = {"a": Scores(np.array([-1.0, -3.0, -1.0, -2.0]), np.array([-1.0, -2.0, -4.0, -1.0]))}
    tensors = {"a": Scores(torch.from_numpy(scores["a"].split), torch.from_numpy(scores["a"].new))}
    for limit, split, new in (
        (8, (1, 3), (1, 2)),
        (9, (0, 1, 3), (1, 2)),
        (10, (0, 1, 2, 3), (1, 2)),
        (11, (0, 1, 2, 3), (0, 1, 2)),
    ):
        for given in (scores, tensors):
            (group,) = select(_graph({"a": 4}), given, "summed widths", _cost, limit, round_to=1).groups
            assert (group.split, group.new) == (split, new)
            assert group.score == scores["a"].split[list(split)].sum() + scores["a"].new[list(new)].sum()


def test_running_out_of_candidates_is_said() -> None:
    decision = select(_graph({"a": 8}), {"a": _scores(-1.0, -1.0, 8, 8)}, "summed widths", _cost, limit=1000)
    assert decision.bound_by == "candidates"
    assert decision.groups[0].after == 24


def test_budgets_out_of_reach_are_errors() -> None:
    scores = {"a": _scores(-1.0, -1.0, 8, 8)}
    with pytest.raises(UserError, match="comes to 16"):
        select(_graph({"a": 8}), scores, "summed widths", _cost, limit=12)
    with pytest.raises(UserError, match="comes to 8"):
        select(_graph({"a": 5}), {"a": _scores(-1.0, -1.0, 5, 8)}, "summed widths", _cost, limit=6)


@pytest.mark.parametrize("name", ["vgg19", "mobilenet_v1", "resnet18"])
def test_a_parameter_budget_is_kept_to_the_parameter(name: str, small_network: Callable[[str], nn.Module]) -> None:
    model = small_network(name)
    graph = trace_channels(model)
    generator = np.random.default_rng(0)
    scores = {g.name: Scores(-generator.random(g.width), -generator.random(64)) for g in graph.groups}
    unit, cost, limit = cost_and_limit(Budget(params=150_000), model, graph)
    decision = select(graph, scores, unit, cost, limit)
    assert 0.8 * limit < decision.complexity_after <= limit
