"""Operations beside the nine. That one is compiled and drawn as it should be, the example in CONTRIBUTING.md shows."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from gearnn.kernels.era import era_views
from gearnn.kernels.era_plan import OPERATIONS, draw_plan
from gearnn.kernels.errors import KernelError
from gearnn.kernels.families import FAMILIES
from gearnn.kernels.operation import ADDED, Operation, extended_family, operation_names, register_operation

SETTINGS = {"seed": 3, "epoch": 1, "image_size": (12, 10), "severity": 10.0}


def _make(block):
    raise AssertionError("nothing is compiled by the reference")


def _operation(name, step=20):
    return Operation(
        name,
        lambda level, sign, size: sign * step * np.floor(level) + size[0] - 12,
        _make,
        lambda image, argument: image.point(lambda level: level + int(argument)),
    )


@pytest.fixture(autouse=True)
def registries():
    families = dict(FAMILIES)
    yield
    ADDED.clear()
    FAMILIES.clear()
    FAMILIES.update(families)


def test_it_is_drawn_where_it_is_named_and_nowhere_else():
    indices, before = range(50), draw_plan(range(50), **SETTINGS)
    register_operation(_operation("shift"))
    after = draw_plan(indices, **SETTINGS)
    assert after.family == before.family == "augmix"
    for one, other in zip(dataclasses.astuple(before), dataclasses.astuple(after)):
        np.testing.assert_array_equal(one, other)
    plan = draw_plan(indices, operations=("rotate", "shift"), **SETTINGS)
    assert operation_names() == (*OPERATIONS, "shift")
    assert set(plan.ops.ravel()) == {OPERATIONS.index("rotate"), len(OPERATIONS)}
    assert plan.family == extended_family() and plan.family in FAMILIES
    shifts = plan.args[plan.ops == len(OPERATIONS)]
    assert len(set(shifts)) > 10 and (shifts % 20 == 0).all() and shifts.min() < 0 < shifts.max()
    alone = draw_plan([7], operations=("rotate", "shift"), **SETTINGS)
    np.testing.assert_array_equal(alone.ops, plan.ops[7:8])
    np.testing.assert_array_equal(alone.args, plan.args[7:8])


def test_the_reference_applies_it():
    register_operation(_operation("shift"))
    register_operation(_operation("other", step=0))
    image = np.random.default_rng(0).integers(0, 256, (1, 1, 12, 10), dtype=np.uint8)
    plan = draw_plan([0], operations=("shift",), depth=1, views=2, **SETTINGS)
    views = era_views(image, plan, backend="reference") * 255
    changed = np.clip(image[0].astype(float) + plan.args[0, 0, 0, 0], 0, 255)
    np.testing.assert_allclose(views[1, 0], image[0] + plan.mix[0, 0] * (changed - image[0]), atol=1e-3)
    assert np.abs(views[1] - views[0]).max() > 5


def test_the_family_is_another_one_when_the_operations_are():
    register_operation(_operation("shift"))
    first = extended_family()
    register_operation(_operation("other"))
    assert extended_family() != first and {first, extended_family()} < set(FAMILIES)


def test_names_that_are_taken_or_unknown():
    register_operation(_operation("shift"))
    for name in ("shift", "rotate"):
        with pytest.raises(KernelError, match=f"there is an operation called {name!r} already"):
            register_operation(_operation(name))
    for names in (("rotat",), (), "rotate"):
        with pytest.raises(ValueError, match="operations must be some of autocontrast, .*, shift, got"):
            draw_plan([0], operations=names, **SETTINGS)
