"""Scales: their rows exist, their sizes are those of the networks."""

from __future__ import annotations

import pytest

from benchmarks.evidence.rows import rows_named
from benchmarks.evidence.scales import SCALES, Arena, scale_named
from gearnn.errors import UserError
from gearnn.models import count_macs, count_parameters, create_model, scaled_widths


@pytest.mark.parametrize("name", SCALES)
def test_every_scale_names_rows_that_exist(name: str) -> None:
    scale = scale_named(name)
    assert len(rows_named(scale.rows)) >= len(scale.rows)
    assert len({arena.name for arena in scale.arenas}) == len(scale.arenas)


def test_paper_is_three_networks_by_three_data_sets_at_full_length() -> None:
    scale = scale_named("paper")
    assert len(scale.arenas) == 9
    assert scale.epochs == 1.0
    assert len(scale.seeds) == 3


@pytest.mark.parametrize("arena", scale_named("cpu").arenas, ids=lambda arena: arena.arch)
def test_budgets_of_a_quarter_are_what_a_quarter_of_the_widths_costs(arena: Arena) -> None:
    arch, budget = arena.arch, {name: int(value) for name, value in arena.budget.items()}
    model = create_model(arch, 10, scaled_widths(arch, 0.25, 8), 3)
    assert budget == {"budget.params": count_parameters(model), "budget.macs": count_macs(model, (3, 32, 32))}


def test_unknown_scales_are_named() -> None:
    with pytest.raises(UserError, match="'huge'.*cpu-small"):
        scale_named("huge")
