"""PRIME's draws: ranges, keys, and what they depend on."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from gearnn.kernels.prime_plan import NO_OPERATION, PRIME_OPERATIONS, PrimePlan, draw_prime_plan


def draw(count: int = 500, **settings: object) -> PrimePlan:
    return draw_prime_plan(range(count), **{"seed": 1, "epoch": 0, "image_size": (32, 32), **settings})  # type: ignore[arg-type]


def test_shapes_and_ranges() -> None:
    plan = draw()
    assert plan.ops.shape == (500, 2, 3, 3) and plan.views == 3 and len(plan) == 500
    assert plan.args.shape == (500, 2, 3, 3, 2) and plan.args.dtype == np.float32 and plan.args.flags.c_contiguous
    assert plan.words.shape == (500, 2, 3, 3, 4) and plan.words.min() >= 0 and plan.words.max() < 2**32
    strength, cut = plan.args[..., 0], plan.args[..., 1]
    for name, low, high in (("colour", 0, 0.1), ("filter", 0, 4.0)):
        drawn = strength[plan.ops == PRIME_OPERATIONS.index(name)]
        assert low <= drawn.min() and 0.9 * high < drawn.max() <= high
    colours = cut[plan.ops == PRIME_OPERATIONS.index("colour")]
    assert colours.min() == 1 and colours.max() == 100 and 45 < colours.mean() < 56
    modes = cut[plan.ops == PRIME_OPERATIONS.index("diffeomorphism")]
    assert modes.min() == 2 and 90 < modes.max() <= 100 and (modes == modes.round()).all()
    assert (plan.ops == NO_OPERATION).mean() == pytest.approx(1 / 3, abs=0.03)
    counts = np.bincount(plan.ops[plan.ops >= 0], minlength=4)
    assert counts[3] == 0 and (np.abs(counts[:3] / counts.sum() - 1 / 3) < 0.03).all()


def test_temperatures_lie_in_the_published_range() -> None:
    plan = draw(operations=("diffeomorphism",), depth=2)
    temperature, cut = plan.args[..., 0].astype(float) ** 2, plan.args[..., 1].astype(float)
    low = 1 / (np.pi * 32**2 * np.log(cut))
    high = np.maximum(low, 4 / (np.pi**3 * cut**2 * np.log(cut)))
    assert (temperature >= low * 0.999).all() and (temperature <= high * 1.001).all()
    assert (temperature > 1.5 * low).any()


def test_a_row_is_a_function_of_seed_epoch_and_index() -> None:
    whole = draw()
    part = draw_prime_plan([30, 4], seed=1, epoch=0, image_size=(32, 32))
    for field in dataclasses.fields(whole):
        assert np.array_equal(getattr(part, field.name), getattr(whole.select(np.array([30, 4])), field.name))
    assert not np.array_equal(draw(epoch=1).words, whole.words)
    assert not np.array_equal(draw(seed=2).args, whole.args)
    assert len(np.unique(whole.words.reshape(-1, 4), axis=0)) == whole.ops.size


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"operations": ("blur",)}, "operations must be some of"),
        ({"operations": ()}, "operations must be some of"),
        ({"cut_max": 2}, "cut_max"),
        ({"cut_max": 101}, "cut_max"),
        ({"noise_max": -1.0}, "noise_max"),
        ({"filter_max": float("nan")}, "filter_max"),
        ({"width": 0}, "width"),
    ],
)
def test_refusals(settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        draw(1, **settings)
