"""Budgets: what they count, and when they cannot be met."""

from __future__ import annotations

import pytest

from gearnn.budget import cost_and_limit, parameter_cost, width_cost
from gearnn.config import Budget
from gearnn.errors import UserError
from gearnn.growth.graph import trace_channels
from gearnn.models import count_parameters, create_model, full_widths, scaled_widths

NAMES = ("vgg19", "mobilenet_v1", "resnet18")


@pytest.mark.parametrize("name", NAMES)
def test_parameter_cost_is_exact_for_any_widths(name: str) -> None:
    seed = create_model(name, 10, scaled_widths(name, 1 / 16))
    cost = parameter_cost(seed, trace_channels(seed))
    widths = tuple(8 * (2 + index % 4) for index in range(len(full_widths(name))))
    grown = create_model(name, 10, widths)
    assert cost(dict(zip(seed.width_layers, widths))) == count_parameters(grown)


def test_width_cost_counts_every_layer_that_writes_the_channels() -> None:
    resnet = create_model("resnet18", 10, scaled_widths("resnet18", 1 / 8))
    graph = trace_channels(resnet)
    expected = sum(module.out_channels for name, module in resnet.named_modules() if hasattr(module, "out_channels"))
    assert width_cost(graph)({group.name: group.width for group in graph.groups}) == expected


def test_growth_ratio_sets_the_limit() -> None:
    model = create_model("vgg19", 10, scaled_widths("vgg19", 1 / 8))
    unit, _, limit = cost_and_limit(Budget(growth_ratio=0.9), model, trace_channels(model))
    assert unit == "summed widths"
    assert limit == int(1.9 * sum(scaled_widths("vgg19", 1 / 8)))


@pytest.mark.parametrize(
    ("budget", "message"),
    [
        (Budget(), "set one of the two"),
        (Budget(growth_ratio=0.5, params=10**6), "set one of the two"),
        (Budget(params=1000), "already has"),
        (Budget(growth_ratio=0.0), "above 0"),
    ],
)
def test_impossible_budgets_are_errors(budget: Budget, message: str) -> None:
    model = create_model("vgg19", 10, scaled_widths("vgg19", 1 / 8))
    with pytest.raises(UserError, match=message):
        cost_and_limit(budget, model, trace_channels(model))
