"""What a grown network may cost: a growth ratio of the summed widths (the paper's), or a number of parameters."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Callable, List, Mapping, Tuple, Union

from torch import nn

from gearnn.config import Budget
from gearnn.errors import UserError
from gearnn.models import count_parameters

if TYPE_CHECKING:
    from gearnn.growth.graph import ChannelGraph

Cost = Callable[[Mapping[str, int]], int]
"""Channel-group widths → the budgeted quantity."""


def cost_and_limit(budget: Budget, model: nn.Module, graph: ChannelGraph) -> Tuple[str, Cost, int]:
    """The budget as (unit, cost of a choice of widths, limit on it).

    Raises:
        UserError: if not exactly one quantity is set, or if it is not above what the seed network already uses.
    """
    if (budget.growth_ratio is None) == (budget.params is None):
        raise UserError("a budget is either --budget.growth-ratio or --budget.params: set one of the two")
    seed_widths = {group.name: group.width for group in graph.groups}
    if budget.params is not None:
        parameters = parameter_cost(model, graph)
        if budget.params <= parameters(seed_widths):
            raise UserError(
                f"a budget of {budget.params:,} parameters leaves no room to grow: the seed network already has "
                f"{parameters(seed_widths):,}; raise --budget.params or lower --seed-width"
            )
        return "parameters", parameters, budget.params
    assert budget.growth_ratio is not None
    if not 0 < budget.growth_ratio < math.inf:
        raise UserError(
            f"--budget.growth-ratio must be above 0, not {budget.growth_ratio}: 0.9 allows 1.9 times the seed's widths"
        )
    widths = width_cost(graph)
    return "summed widths", widths, int((1 + budget.growth_ratio) * widths(seed_widths))


def width_cost(graph: ChannelGraph) -> Cost:
    """The paper's complexity C(f) = Σ_l w_l over the layers that write growable channels (depthwise layers follow theirs)."""
    producers = {group.name: len(group.producers) for group in graph.groups}
    return lambda widths: sum(count * widths[name] for name, count in producers.items())


def parameter_cost(model: nn.Module, graph: ChannelGraph) -> Cost:
    """The number of learnable parameters as a function of the group widths; exact."""
    outputs, inputs = graph.output_of(), graph.input_of()
    seed_widths = {group.name: group.width for group in graph.groups}
    # Each term is factor · side · side, a side being a group's width or a fixed number.
    terms: List[Tuple[int, Union[str, int], Union[str, int]]] = []
    for layer in {**outputs, **inputs}:
        module = model.get_submodule(layer)
        weight: nn.Parameter = module.weight  # type: ignore[assignment]
        out: Union[str, int] = outputs.get(layer, weight.shape[0])
        into: Union[str, int] = inputs.get(layer, weight.shape[1] if weight.dim() > 1 else 1)
        sides = (seed_widths.get(str(out), weight.shape[0]), seed_widths.get(str(into), into))
        terms.append((weight.numel() // (int(sides[0]) * int(sides[1])), out, into))
        if getattr(module, "bias", None) is not None:
            terms.append((1, out, 1))

    def grown(widths: Mapping[str, int]) -> int:
        def size(side: Union[str, int]) -> int:
            return widths[side] if isinstance(side, str) else side

        return sum(factor * size(out) * size(into) for factor, out, into in terms)

    constant = count_parameters(model) - grown(seed_widths)
    return lambda widths: constant + grown(widths)
