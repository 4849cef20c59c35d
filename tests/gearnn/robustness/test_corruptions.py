"""All nineteen corruptions: keyed, sized, and as strong as published."""

from __future__ import annotations

from typing import Iterator, List, Tuple

import numpy as np
import pytest

from gearnn.errors import UserError
from gearnn.robustness import ALL_CORRUPTIONS, CORRUPTIONS, EXTRA_CORRUPTIONS, SEVERITIES, corrupt, register_corruption
from gearnn.robustness.corruptions import _ADDED, _AT_ONCE

# By the published parameters, these do not get further from the image with every severity: glass blur trades shift for
# passes, frost trades the image's weight for the ice's, elastic trades the affine jitter for the displacement field, spatter goes
# from water to mud and saturate from too little colour to too much.
NOT_MONOTONE = ("glass_blur", "frost", "elastic_transform", "spatter", "saturate")


def _psnr(images: np.ndarray, changed: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / np.mean((images.astype(float) - changed) ** 2)))


def test_the_fifteen_in_the_usual_order() -> None:
    assert len(CORRUPTIONS) == 15
    assert CORRUPTIONS[0] == "gaussian_noise"
    assert CORRUPTIONS[-1] == "jpeg_compression"
    assert EXTRA_CORRUPTIONS == ("speckle_noise", "gaussian_blur", "spatter", "saturate")
    assert ALL_CORRUPTIONS == CORRUPTIONS + EXTRA_CORRUPTIONS


@pytest.mark.parametrize("name", ALL_CORRUPTIONS)
def test_depends_on_the_key_alone(name: str, photos: np.ndarray) -> None:
    whole = corrupt(photos, name, 3, seed=5)
    assert np.array_equal(whole, corrupt(photos, name, 3, seed=5))
    order = np.random.default_rng(0).permutation(len(photos))[:7]
    assert np.array_equal(whole[order], corrupt(photos[order], name, 3, seed=5, indices=order))
    assert whole.dtype == np.uint8
    assert not np.array_equal(whole, photos)


@pytest.mark.parametrize("name", ALL_CORRUPTIONS)
def test_seed_and_index_change_what_is_random(name: str, photos: np.ndarray) -> None:
    fixed = ("defocus_blur", "zoom_blur", "brightness", "contrast", "pixelate", "jpeg_compression", "gaussian_blur", "saturate")
    assert np.array_equal(corrupt(photos, name, 3, seed=1), corrupt(photos, name, 3, seed=2)) == (name in fixed)
    twice = corrupt(np.repeat(photos[:1], 2, axis=0), name, 5)
    assert np.array_equal(twice[0], twice[1]) == (name in fixed)


@pytest.mark.parametrize("name", ALL_CORRUPTIONS)
def test_strength(name: str, photos: np.ndarray) -> None:
    levels = [_psnr(photos, corrupt(photos, name, severity)) for severity in SEVERITIES]
    assert all(8 < level < 50 for level in levels)
    if name not in NOT_MONOTONE:
        assert all(later < earlier + 0.3 for earlier, later in zip(levels, levels[1:])), levels
        assert levels[-1] < levels[0] - 1


@pytest.mark.parametrize("shape", [(1, 32, 32), (3, 17, 23), (1, 64, 40), (3, 96, 96), (3, 8, 8), (3, 130, 140)])
@pytest.mark.parametrize("name", ALL_CORRUPTIONS)
def test_any_size_and_one_or_three_channels(name: str, shape: Tuple[int, int, int]) -> None:
    channels, height, width = shape
    y, x = np.mgrid[0:height, 0:width]
    waves = np.stack([128 + 90 * np.sin(x / (3 + c) + y / 5 + phase) for phase in (0, 2) for c in range(channels)])
    images = waves.reshape(2, channels, height, width).astype(np.uint8)
    for severity in (1, 5):
        changed = corrupt(images, name, severity)
        assert changed.shape == images.shape
        assert changed.std() > 1
    assert not np.array_equal(changed, images)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("fogg", 1), "did you mean fog"),
        (("fog", 6), "1 to 5"),
        (("fog", 0), "1 to 5"),
        (("fog", 2.0), "whole number"),
        (("fog", True), "whole number"),
        ((None, 1), "no corruption called None"),
    ],
)
def test_unknown_corruptions_and_severities_are_errors(arguments: tuple, message: str, photos: np.ndarray) -> None:
    with pytest.raises(UserError, match=message):
        corrupt(photos, *arguments)


def test_other_images_are_errors(photos: np.ndarray) -> None:
    for wrong in (photos.astype(np.float32), photos[0], photos[:, :2], photos[:, :, :4]):
        with pytest.raises(UserError, match="uint8 images"):
            corrupt(wrong, "fog", 1)
    assert corrupt(photos[:0], "fog", 1).shape == (0, 3, 32, 32)


def test_large_and_negative_seeds_keep_corruptions_apart(photos: np.ndarray) -> None:
    for seed in (2**31, 2**32 - 1, -1, np.int64(2**31 + 5)):
        first = corrupt(photos, "gaussian_noise", 4, seed=seed).astype(int) - photos
        second = corrupt(photos, "gaussian_noise", 5, seed=seed).astype(int) - photos
        assert abs(np.corrcoef(first.ravel(), second.ravel())[0, 1]) < 0.05
    assert np.array_equal(corrupt(photos, "fog", 2, seed=-1), corrupt(photos, "fog", 2, seed=2**32 - 1))


@pytest.mark.parametrize("name", ["shot_noise", "glass_blur", "zoom_blur", "frost"])
def test_more_images_than_are_worked_on_at_once(name: str, photos: np.ndarray) -> None:
    many = np.concatenate([photos] * (_AT_ONCE // len(photos) + 2))[: _AT_ONCE + 5]
    last = np.arange(_AT_ONCE - 2, _AT_ONCE + 5)
    assert np.array_equal(corrupt(many, name, 4)[last], corrupt(many[last], name, 4, indices=last))


@pytest.mark.parametrize("indices", [[0, 1], np.arange(48.0), np.arange(48) - 1, np.zeros((48, 1), int)])
def test_other_indices_are_errors(indices: np.ndarray, photos: np.ndarray) -> None:
    with pytest.raises(UserError, match="indices must be 48 whole numbers"):
        corrupt(photos, "fog", 1, indices=indices)


def test_the_images_given_stay_as_they_are(photos: np.ndarray) -> None:
    before = photos.copy()
    for name in ALL_CORRUPTIONS:
        corrupt(photos, name, 5)
    assert np.array_equal(photos, before)


def _veil(images: np.ndarray, streams: List[np.random.Generator], weight: float) -> np.ndarray:
    drawn = np.array([stream.random() for stream in streams], np.float32).reshape(-1, 1, 1, 1)
    return images * (1 - weight) + weight * drawn


@pytest.fixture()
def veil() -> Iterator[str]:
    register_corruption("veil", _veil, levels=((0.0,), (0.1,), (0.2,), (0.3,), (1.0,)))
    yield "veil"
    _ADDED.pop("veil")


def test_a_registered_one_is_keyed_like_the_others(veil: str, photos: np.ndarray) -> None:
    np.testing.assert_array_equal(corrupt(photos, veil, 1), photos)
    whole = corrupt(photos, veil, 5, seed=3)
    assert len({image.tobytes() for image in whole}) > len(photos) // 2 and all(len(np.unique(image)) == 1 for image in whole)
    np.testing.assert_array_equal(corrupt(photos[[4, 2]], veil, 5, seed=3, indices=[4, 2]), whole[[4, 2]])
    assert veil not in ALL_CORRUPTIONS
    with pytest.raises(UserError, match="did you mean veil"):
        corrupt(photos, "vail", 1)


def test_a_registration_needs_a_new_name_and_five_levels() -> None:
    for name, levels in (("fog", ((1,),) * 5), ("veil", ((1,),) * 4)):
        with pytest.raises(UserError, match="a name of its own and parameters for 5 severities"):
            register_corruption(name, _veil, levels)
    assert not _ADDED
