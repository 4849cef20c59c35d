"""The door: layouts, types, libraries, threads and refusals; and every back end against Pillow."""

from __future__ import annotations

import dataclasses
from typing import Callable, Optional, Tuple

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gearnn.kernels.era import era_views
from gearnn.kernels.era_plan import draw_plan
from gearnn.kernels.errors import KernelError
from gearnn.kernels.prime_plan import draw_prime_plan

Pictures = Callable[..., np.ndarray]


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    channels=st.sampled_from([1, 3]),
    height=st.integers(8, 72),
    width=st.integers(8, 72),
    shape=st.sampled_from([(1, 3, 4), (3, None, 3), (2, 2, 2), (1, 3, 1)]),
    severity=st.sampled_from([1.0, 3.0, 10.0]),
)
def test_whole_plans_are_pillows(
    pictures: Pictures, seed: int, channels: int, height: int, width: int, shape: Tuple[int, Optional[int], int], severity: float
) -> None:
    chains, depth, views = shape
    images = pictures(seed, 3, channels, height, width)
    size = (height, width)
    plan = draw_plan(
        range(3), seed=seed, epoch=0, image_size=size, severity=severity, width=chains, depth=depth, views=views, pad=8, flip=True
    )
    result, expected = era_views(images, plan, backend="numba"), era_views(images, plan, backend="reference")
    assert result.shape == (views, *images.shape) and result.dtype == np.float32
    assert result.min() >= 0 and result.max() <= 1
    np.testing.assert_array_equal(result[0], expected[0])
    # A warp may be a level off in few pixels; a later operation may spread that.
    assert np.mean(np.abs(result - expected) < 1e-5) >= 0.99


@pytest.mark.parametrize("size", [(224, 224), (200, 131), (8, 224)])
def test_large_and_odd_sizes(pictures: Pictures, size: Tuple[int, int]) -> None:
    images = pictures(0, 2, 3, *size)
    plan = draw_plan(range(2), seed=5, epoch=0, image_size=size, severity=10, pad=9, flip=True)
    difference = np.abs(era_views(images, plan) - era_views(images, plan, backend="reference"))
    assert np.mean(difference < 1e-5) >= 0.995


@pytest.mark.parametrize("level", [0, 1, 128, 255])
def test_constant_images(level: int) -> None:
    images = np.full((40, 3, 9, 14), level, np.uint8)
    plan = draw_plan(range(40), seed=0, epoch=0, image_size=(9, 14), severity=10, width=3)
    result = era_views(images, plan)
    np.testing.assert_allclose(result, era_views(images, plan, backend="reference"), atol=1e-6)
    assert result.max() <= 1


@pytest.mark.parametrize("family", ["augmix", "prime"])
def test_a_row_depends_on_its_image_and_its_draws_alone(pictures: Pictures, family: str) -> None:
    images = pictures(1, 37, 3, 18, 21)
    draw = draw_plan if family == "augmix" else draw_prime_plan
    plan = draw(range(37), seed=3, epoch=2, image_size=(18, 21), width=2, pad=3, flip=True)  # type: ignore[operator]
    whole = era_views(images, plan, threads=1)
    for threads in (2, 3, 64):
        assert np.array_equal(era_views(images, plan, threads=threads), whole)
    rows = np.array([30, 4, 11])
    assert np.array_equal(era_views(images[rows], plan.select(rows), threads=2), whole[:, rows])
    assert np.array_equal(era_views(images[5:6], plan.select(slice(5, 6))), whole[:, 5:6])


@pytest.mark.parametrize("channels", [1, 2, 3, 5])
@pytest.mark.parametrize("backend", ["numba", "reference"])
def test_normalisation_layout_and_type(pictures: Pictures, channels: int, backend: str) -> None:
    images = pictures(2, 6, channels, 11, 13)
    plan = draw_plan(range(6), seed=0, epoch=0, image_size=(11, 13), pad=2, flip=True)
    plain = era_views(images, plan, backend=backend)
    mean, std = np.linspace(0.2, 0.5, channels), np.linspace(0.1, 0.3, channels)
    normalised = era_views(images, plan, mean=list(mean), std=list(std), backend=backend)
    expected = (plain - mean[:, None, None]) / std[:, None, None]
    np.testing.assert_allclose(normalised, expected, atol=1e-5)
    last = era_views(images, plan, mean=list(mean), std=list(std), channels_last=True, backend=backend)
    assert np.array_equal(last, normalised) and last.transpose(0, 1, 3, 4, 2).flags.c_contiguous
    half = era_views(images, plan, mean=list(mean), std=list(std), dtype="float16", channels_last=True, backend=backend)
    assert half.dtype == np.float16
    assert np.array_equal(half, normalised.astype(np.float16))


def test_torch_tensors_come_and_go_without_a_copy(pictures: Pictures) -> None:
    images = pictures(3, 5, 3, 12, 12)
    plan = draw_plan(range(5), seed=0, epoch=0, image_size=(12, 12))
    expected = era_views(images, plan)
    tensor = torch.from_numpy(images)
    result = era_views(tensor, plan, channels_last=True)
    assert isinstance(result, torch.Tensor) and np.array_equal(result.numpy(), expected)
    assert result.flatten(0, 1).is_contiguous(memory_format=torch.channels_last)
    for same in (tensor.to(memory_format=torch.channels_last), tensor.flip(3).flip(3), torch.cat([tensor, tensor])[::2][:0]):
        rows = plan.select(slice(0, len(same)))
        assert np.array_equal(era_views(same, rows).numpy(), expected[:, : len(same)])
    assert np.array_equal(era_views(images[:, :, ::-1][:, :, ::-1], plan), expected)
    half = era_views(tensor, plan, dtype="float16")
    assert half.dtype == torch.float16


def test_an_empty_batch(pictures: Pictures) -> None:
    plan = draw_plan([], seed=0, epoch=0, image_size=(8, 9))
    assert era_views(np.empty((0, 3, 8, 9), np.uint8), plan).shape == (4, 0, 3, 8, 9)
    assert era_views(torch.empty((0, 3, 8, 9), dtype=torch.uint8), plan, channels_last=True).shape == (4, 0, 3, 8, 9)


@pytest.mark.parametrize(
    ("images", "settings", "message"),
    [
        (np.ones((2, 3, 8, 8), np.float32), {}, "got float32 of shape"),
        (np.ones((3, 8, 8), np.uint8), {}, r"got uint8 of shape \(3, 8, 8\)"),
        ([[1]], {}, "got list"),
        (np.ones((3, 3, 8, 8), np.uint8), {}, "plan is for 2 images, but the batch has 3"),
        (np.ones((2, 3, 0, 8), np.uint8), {}, "pixels and a channel"),
        (np.ones((2, 3, 8, 8), np.uint8), {"dtype": "float64"}, "float64"),
        (np.ones((2, 3, 8, 8), np.uint8), {"mean": [0.5, 0.5, 0.5]}, "must both be given, for 3 channels"),
        (np.ones((2, 3, 8, 8), np.uint8), {"mean": [0.5], "std": [0.5]}, "for 3 channels"),
        (np.ones((2, 1, 8, 8), np.uint8), {"mean": [0.5], "std": [0.0]}, "std above 0"),
        (np.ones((2, 3, 8, 8), np.uint8), {"threads": 0}, "threads must be at least 1"),
    ],
)
def test_refusals_are_one_sentence(images: object, settings: dict, message: str) -> None:
    plan = draw_plan([0, 1], seed=0, epoch=0, image_size=(8, 8))
    with pytest.raises(ValueError, match=message) as error:
        era_views(images, plan, **settings)
    assert "\n" not in str(error.value)


def test_a_back_end_that_cannot_do_it_is_refused() -> None:
    plan = draw_plan([0], seed=0, epoch=0, image_size=(8, 8))
    with pytest.raises(KernelError, match="'cupy' back end does not do ERA on CPU arrays"):
        era_views(np.ones((1, 3, 8, 8), np.uint8), plan, backend="cupy")


def with_changes(family: str, **changes: object) -> object:
    draw = draw_plan if family == "augmix" else draw_prime_plan
    plan = draw([0, 1], seed=0, epoch=0, image_size=(8, 8))  # type: ignore[operator]
    return dataclasses.replace(plan, **{name: change(getattr(plan, name)) for name, change in changes.items()})  # type: ignore[operator]


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        (None, "plan must come from draw_plan"),
        (with_changes("augmix", mix=lambda mix: mix[:1]), "mix has shape"),
        (with_changes("augmix", chain_weights=lambda w: np.repeat(w, 2, 2)), "chain_weights has shape"),
        (with_changes("augmix", ops=lambda ops: ops[:, :2]), "does not fit its other arrays"),
        (with_changes("augmix", ops=lambda ops: ops.tolist()), "ops must be an array"),
        (with_changes("augmix", args=lambda args: args * np.nan), "args must be finite"),
        (with_changes("augmix", crop=lambda crop: crop[:, :1]), "crop has shape"),
        (with_changes("prime", args=lambda args: args + 101), "cuts must be in"),
        (with_changes("prime", words=lambda words: words[..., :3]), "words has shape"),
    ],
)
@pytest.mark.parametrize("backend", ["numba", "reference"])
def test_plans_made_by_hand_are_checked_before_compiled_code_reads_them(plan: object, message: str, backend: str) -> None:
    with pytest.raises(ValueError, match=message):
        era_views(np.ones((2, 3, 8, 8), np.uint8), plan, backend=backend)  # type: ignore[arg-type]


def test_arguments_beyond_reason_stay_in_the_image(pictures: Pictures) -> None:
    images = pictures(0, 40, 3, 9, 12)
    plan = draw_plan(range(40), seed=0, epoch=0, image_size=(9, 12), views=2, depth=2)
    for size in (100.0, 2e9, 1e30, -1e30):
        views = era_views(images, dataclasses.replace(plan, args=np.full_like(plan.args, size)))
        assert views.min() >= 0 and views.max() <= 1


def test_plans_of_other_types_and_read_only_images_compile_nothing_new(pictures: Pictures) -> None:
    from gearnn.kernels.era_cpu import compiled

    images = pictures(0, 4, 3, 8, 8)
    plan = draw_plan(range(4), seed=0, epoch=0, image_size=(8, 8))
    expected = era_views(images, plan)
    variants = len(compiled("augmix", False).signatures)  # type: ignore[attr-defined]
    other = dataclasses.replace(plan, mix=plan.mix.astype(np.float64), ops=plan.ops.astype(np.int64))
    images.flags.writeable = False
    assert np.array_equal(era_views(images, other), expected)
    assert len(compiled("augmix", False).signatures) == variants  # type: ignore[attr-defined]
