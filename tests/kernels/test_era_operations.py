"""Each operation by itself against Pillow."""

from __future__ import annotations

import dataclasses
from typing import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gearnn.kernels.era import era_views
from gearnn.kernels.era_plan import NO_OPERATION, OPERATIONS, EraPlan, draw_plan
from gearnn.kernels.era_reference import apply_operation, from_pillow, to_pillow

TABLES = ("autocontrast", "equalize", "posterize", "solarize")


def run(images: np.ndarray, ops: object, args: object) -> np.ndarray:
    """One operation per image, nothing mixed in: uint8 (N, C, H, W)."""
    shape = (len(images), 1, 1, 1)
    plan = EraPlan(
        ops=np.asarray(ops, np.int32).reshape(shape),
        args=np.asarray(args, np.float32).reshape(shape),
        chain_weights=np.ones(shape[:3], np.float32),
        mix=np.ones(shape[:2], np.float32),
        crop=np.zeros((len(images), 2), np.int32),
        flip=np.zeros(len(images), bool),
    )
    levels = era_views(images, plan)[1] * 255
    np.testing.assert_allclose(levels, levels.round(), atol=1e-4)
    return np.asarray(levels.round(), np.uint8)


def pillow(image: np.ndarray, name: str, arg: float) -> np.ndarray:
    return from_pillow([apply_operation(part, name, arg) for part in to_pillow(image)])


@settings(max_examples=80, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    channels=st.sampled_from([1, 3]),
    height=st.integers(8, 80),
    width=st.integers(8, 80),
    severity=st.sampled_from([1.0, 3.0, 10.0]),
)
def test_every_operation_is_pillows(
    pictures: Callable[..., np.ndarray], seed: int, channels: int, height: int, width: int, severity: float
) -> None:
    plan = draw_plan(range(200), seed=seed, epoch=0, image_size=(height, width), severity=severity, views=2, depth=1)
    drawn = plan.ops.ravel()
    rows = np.concatenate([np.flatnonzero(drawn == op)[:2] for op in range(len(OPERATIONS))])
    ops, args = drawn[rows], plan.args.ravel()[rows]
    images = pictures(seed, len(rows), channels, height, width)
    for image, op, arg, result in zip(images, ops, args, run(images, ops, args)):
        name = OPERATIONS[op]
        expected = pillow(image, name, float(arg))
        if name in TABLES:
            np.testing.assert_array_equal(result, expected, err_msg=f"{name} {arg}")
        else:
            difference = np.abs(result.astype(int) - expected)
            assert difference.max() <= 1, (name, arg)
            assert np.mean(difference == 0) >= 0.995, (name, arg)


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("low", range(0, 256, 5))
def test_tables_on_every_range_of_levels(name: str, low: int) -> None:
    """Ramps and skewed histograms between any two levels, where rounding is most likely to differ."""
    generator = np.random.default_rng(low)
    highs = np.arange(low, 256)
    images = np.stack([np.sort(generator.integers(low, high + 1, 400)).reshape(1, 20, 20) for high in highs]).astype(np.uint8)
    images[:, 0, 0, 0], images[:, 0, -1, -1] = low, highs
    args = generator.integers(1, 9 if name == "posterize" else 257, len(images)).astype(np.float32)
    results = run(images, np.full(len(images), OPERATIONS.index(name)), args)
    for image, arg, result in zip(images, args, results):
        np.testing.assert_array_equal(result, pillow(image, name, float(arg)))


def test_no_operation_and_zero_warps_change_nothing(pictures: Callable[..., np.ndarray]) -> None:
    images = pictures(0, 6, 3, 16, 16)
    ops = [NO_OPERATION, *(OPERATIONS.index(name) for name in ("rotate", "shear_x", "shear_y", "translate_x", "translate_y"))]
    np.testing.assert_array_equal(run(images, ops, np.zeros(6)), images)


@pytest.mark.parametrize("shift", [0.5, -0.5, 3.5, -7.5, 40, -40])
@pytest.mark.parametrize("name", ["translate_x", "translate_y"])
def test_sources_on_the_very_border_and_beyond(pictures: Callable[..., np.ndarray], name: str, shift: float) -> None:
    images = np.maximum(pictures(0, 1, 3, 15, 22), 1)
    result = run(images, [OPERATIONS.index(name)], [shift])[0]
    np.testing.assert_array_equal(result, pillow(images[0], name, shift))


@pytest.mark.parametrize("name", ["rotate", "shear_x", "shear_y"])
@pytest.mark.parametrize("arg", [-3.0, -1.0, -0.5, 0.5, 1.0, 2.5, 45.0, 90.0, 180.0])
def test_warps_far_beyond_their_usual_range(pictures: Callable[..., np.ndarray], name: str, arg: float) -> None:
    images = pictures(1, 1, 3, 19, 26)
    result = run(images, [OPERATIONS.index(name)], [arg])[0].astype(int)
    expected = pillow(images[0], name, arg)
    inner = np.s_[:, 1:-1, 1:-1]  # right angles put sources on the very border, where rounding decides
    assert np.mean(np.abs(result - expected)[inner] <= 1) >= 0.99


def test_directions() -> None:
    image = np.zeros((1, 1, 9, 9), np.uint8)
    image[0, 0, 2, 4] = 200
    moved = {name: run(image, [OPERATIONS.index(name)], [2])[0, 0] for name in ("translate_x", "translate_y")}
    assert moved["translate_x"][2, 2] == 200 and moved["translate_y"][0, 4] == 200
    turned = run(image, [OPERATIONS.index("rotate")], [30])[0, 0]
    assert turned[:, :4].sum() > 0 and turned[:, 5:].sum() == 0  # counter-clockwise: the top goes left


def test_white_stays_white() -> None:
    images = np.full((50, 3, 8, 8), 255, np.uint8)
    plan = draw_plan(range(50), seed=0, epoch=0, image_size=(8, 8), width=3)
    plan = dataclasses.replace(plan, ops=np.full_like(plan.ops, NO_OPERATION))
    views = era_views(images, plan)
    assert views.max() == 1 and views.min() > 1 - 1e-6
