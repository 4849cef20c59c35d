"""Each primitive against NumPy in float64, and what makes it that primitive."""

from __future__ import annotations

from typing import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gearnn.kernels.era import era_views
from gearnn.kernels.prime_plan import PRIME_OPERATIONS, draw_prime_plan
from gearnn.kernels.prime_reference import normals

Pictures = Callable[..., np.ndarray]


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    channels=st.sampled_from([1, 3]),
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    operation=st.sampled_from(PRIME_OPERATIONS),
)
def test_every_primitive_is_the_references(
    pictures: Pictures, seed: int, channels: int, height: int, width: int, operation: str
) -> None:
    images = pictures(seed, 4, channels, height, width)
    plan = draw_prime_plan(
        range(4), seed=seed, epoch=0, image_size=(height, width), operations=(operation,), depth=1, width=2, pad=3, flip=True
    )
    result, expected = era_views(images, plan, backend="numba"), era_views(images, plan, backend="reference")
    np.testing.assert_allclose(result, expected, atol=1e-4)


def test_whole_plans(pictures: Pictures) -> None:
    images = pictures(0, 12, 3, 32, 32)
    plan = draw_prime_plan(range(12), seed=0, epoch=0, image_size=(32, 32), pad=4, flip=True)
    difference = np.abs(era_views(images, plan) - era_views(images, plan, backend="reference"))
    # Colour transformations one after the other magnify rounding: their slope reaches hundreds.
    assert np.mean(difference < 1e-4) > 0.999
    assert np.abs(era_views(images, plan)[1:] - era_views(images, plan)[0]).mean() > 0.02


def test_large_images(pictures: Pictures) -> None:
    images = pictures(0, 2, 3, 224, 200)
    plan = draw_prime_plan(range(2), seed=4, epoch=0, image_size=(224, 200), depth=1)
    np.testing.assert_allclose(era_views(images, plan), era_views(images, plan, backend="reference"), atol=1e-3)


def test_the_filter_is_centred(pictures: Pictures) -> None:
    """With next to no noise the filter is the identity: nothing moves by a pixel."""
    images = pictures(0, 4, 3, 16, 16)
    plan = draw_prime_plan(range(4), seed=0, epoch=0, image_size=(16, 16), operations=("filter",), filter_max=1e-6)
    views = era_views(images, plan)
    np.testing.assert_allclose(views[1:], np.broadcast_to(views[0], views[1:].shape), atol=1e-4)


def test_images_of_a_batch_differ_in_their_draws(pictures: Pictures) -> None:
    images = np.repeat(pictures(0, 1, 3, 16, 16), 8, axis=0)
    for operation in PRIME_OPERATIONS:
        plan = draw_prime_plan(range(8), seed=0, epoch=0, image_size=(16, 16), operations=(operation,), views=2)
        views = era_views(images, plan)[1]
        assert len({view.tobytes() for view in views}) == 8


def test_noise_has_the_strength_it_was_drawn_with() -> None:
    images = np.full((1, 3, 64, 64), 128, np.uint8)
    plan = draw_prime_plan([0], seed=3, epoch=0, image_size=(64, 64), operations=("noise",), width=1, depth=1, views=2)
    clean, noisy = era_views(images, plan)[:, 0]
    sigma = float(plan.args[0, 0, 0, 0, 0] * plan.mix[0, 0])
    assert (noisy - clean).std() == pytest.approx(sigma, rel=0.03)
    assert abs((noisy - clean).mean()) < 4 * sigma / np.sqrt(clean.size)


def test_the_variates_are_normal_and_independent() -> None:
    drawn = normals(np.array([1, 2, 3, 4]), 0, 200_000)
    assert abs(drawn.mean()) < 0.01 and drawn.std() == pytest.approx(1, abs=0.01)
    assert (drawn**4).mean() == pytest.approx(3, abs=0.1)
    for lag in (1, 2, 4):
        assert abs(np.corrcoef(drawn[:-lag], drawn[lag:])[0, 1]) < 0.01
    assert abs(np.corrcoef(drawn, normals(np.array([1, 2, 3, 4]), 1, 200_000))[0, 1]) < 0.01
