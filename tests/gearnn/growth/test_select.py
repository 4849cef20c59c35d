"""What the budget buys."""

from __future__ import annotations

from typing import Callable, Dict, List

import numpy as np
import pytest
import torch
from torch import nn

from gearnn.budget import Constraint
from gearnn.costs import mac_cost, parameter_cost
from gearnn.growth.decision import Scores
from gearnn.growth.graph import ChannelGraph, ChannelGroup, trace_channels
from gearnn.growth.select import select


def _graph(widths: Dict[str, int], block: int = 1, whole: bool = False) -> ChannelGraph:
    groups = tuple(ChannelGroup(name, width, block, whole, (name,), (), (), ()) for name, width in widths.items())
    return ChannelGraph(groups, {}, {}, ())


def _limit(limit: float, cost: Callable[..., float] = lambda widths: sum(widths.values()), name: str = "widths") -> Constraint:
    return Constraint(name, "", cost, limit, f"--budget.{name}")


def _scores(split: float, new: float, width: int, count: int) -> Scores:
    return Scores(np.linspace(split, split / 2, width), np.linspace(new, new / 2, count))


def test_the_best_candidates_come_first_within_and_across_groups() -> None:
    scores = {"a": _scores(-1.0, -10.0, 8, 16), "b": _scores(-2.0, -2.0, 8, 16)}
    decision = select(_graph({"a": 8, "b": 8}), scores, [_limit(24)])
    a, b = decision.groups
    assert (a.after, b.after) == (16, 8)
    assert a.split == () and a.new == tuple(range(8))
    assert a.score == pytest.approx(scores["a"].new[:8].sum())
    assert a.cost == {"widths": 8} and b.cost == {"widths": 0}
    assert decision.bound_by == "widths"
    assert [(usage.before, usage.after, usage.limit) for usage in decision.usage] == [(16, 24, 24)]


def test_value_is_weighed_against_the_share_of_the_budget() -> None:
    scores = {"dear": _scores(-1.0, -3.0, 8, 8), "cheap": _scores(-1.0, -2.0, 8, 8)}
    dear = select(_graph({"dear": 8, "cheap": 8}), scores, [_limit(96, lambda w: 10 * w["dear"] + w["cheap"])])
    assert [group.after for group in dear.groups] == [8, 16]


def test_of_several_limits_the_tightest_weighs_and_binds() -> None:
    scores = {name: _scores(-1.0, -1.0, 8, 24) for name in ("a", "b")}
    limits = [_limit(64, name="widths"), _limit(20, lambda w: w["a"] / 8 + w["b"], name="latency")]
    decision = select(_graph({"a": 8, "b": 8}), scores, limits)
    assert [group.after for group in decision.groups] == [40, 8]
    assert decision.bound_by == "latency" and all(usage.after <= usage.limit for usage in decision.usage)


@pytest.mark.parametrize("choice", ["scored", "uniform", "random"])
@pytest.mark.parametrize("round_to", [1, 4, 8])
def test_widths_come_out_in_multiples(round_to: int, choice: str) -> None:
    widths = {"a": 5, "b": 12, "c": 16}
    scores = {name: _scores(-1.0, -1.5, width, 40) for name, width in widths.items()}
    decision = select(_graph(widths), scores, [_limit(70)], round_to, choice=choice)
    for group in decision.groups:
        assert group.after % round_to == 0 or group.after == group.before
        assert group.after == group.before + len(group.split) + len(group.new)
    assert 60 <= decision.usage[0].after <= 70


def test_blocks_stay_together_and_wholes_double() -> None:
    scores = {"a": Scores(np.array([-1.0, -1, -5, -5, -1, -1]), np.array([-9.0, 1, -3, -3]))}
    (group,) = select(_graph({"a": 6}, block=2), scores, [_limit(10)], round_to=1).groups
    assert (group.split, group.new) == ((2, 3), (0, 1)) or (group.split, group.new) == ((2, 3), (2, 3))
    assert group.split == (2, 3) and group.after == 10
    whole = {"a": Scores(-np.ones(6), np.zeros(0))}
    (group,) = select(_graph({"a": 6}, block=6, whole=True), whole, [_limit(100)], round_to=8).groups
    assert (group.after, group.split) == (12, tuple(range(6)))
    (group,) = select(_graph({"a": 6}, block=6, whole=True), whole, [_limit(11)], round_to=8).groups
    assert group.after == 6


def test_alike_means_by_the_same_factor() -> None:
    widths = {"a": 8, "b": 16, "c": 64}
    scores = {name: Scores(np.zeros(0), np.zeros(5 * width)) for name, width in widths.items()}
    decision = select(_graph(widths), scores, [_limit(3 * 88)], choice="uniform")
    assert [group.after for group in decision.groups] == [24, 48, 192]
    assert [group.new for group in decision.groups] == [tuple(range(2 * width)) for width in widths.values()]


def test_random_depends_on_the_generator_alone() -> None:
    widths = dict.fromkeys("abcd", 16)
    scores = {name: _scores(-1.0, -1.0, 16, 64) for name in widths}

    def chosen(seed: int) -> List[int]:
        drawn = torch.Generator().manual_seed(seed)
        return [g.after for g in select(_graph(widths), scores, [_limit(150)], choice="random", generator=drawn).groups]

    assert chosen(0) == chosen(0)
    assert len({tuple(chosen(seed)) for seed in range(6)}) > 3


def test_a_discount_spreads_growth() -> None:
    scores = {"a": Scores(np.zeros(0), np.full(64, -3.0)), "b": Scores(np.zeros(0), np.full(64, -1.0))}
    plain = select(_graph({"a": 8, "b": 8}), scores, [_limit(64)])
    spread = select(_graph({"a": 8, "b": 8}), scores, [_limit(64)], discount=2.0)
    assert [group.after for group in plain.groups] == [56, 8]
    assert [group.after for group in spread.groups] == [40, 24]


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
            (group,) = select(_graph({"a": 4}), given, [_limit(limit)], round_to=1).groups
            assert (group.split, group.new) == (split, new)
            assert group.score == scores["a"].split[list(split)].sum() + scores["a"].new[list(new)].sum()


def test_running_out_of_candidates_is_said() -> None:
    decision = select(_graph({"a": 8}), {"a": _scores(-1.0, -1.0, 8, 8)}, [_limit(1000)])
    assert decision.bound_by == "candidates"
    assert decision.groups[0].after == 24


@pytest.mark.parametrize("name", ["vgg19", "mobilenet_v1", "resnet18"])
def test_budgets_are_kept_to_the_last_unit(name: str, small_network: Callable[[str], nn.Module], images: torch.Tensor) -> None:
    model = small_network(name)
    graph = trace_channels(model, images)
    generator = np.random.default_rng(0)
    scores = {g.name: Scores(-generator.random(g.width), -generator.random(64)) for g in graph.groups}
    for cost in (parameter_cost(model, graph), mac_cost(model, graph)):
        limit = 3 * cost(graph.widths())
        decision = select(graph, scores, [_limit(limit, cost)])
        assert 0.9 * limit < decision.usage[0].after <= limit
        assert decision.usage[0].after == cost(decision.widths())
