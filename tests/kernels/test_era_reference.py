"""The plan as Pillow executes it: what surrounds Pillow's own operations."""

from __future__ import annotations

import dataclasses
from typing import Callable

import numpy as np
import pytest
from PIL import Image

from gearnn.kernels.era_plan import NO_OPERATION, OPERATIONS, draw_plan
from gearnn.kernels.era_reference import apply_operation, era_views_reference, from_pillow, to_pillow

Pictures = Callable[..., np.ndarray]


def test_crop_flip_and_mixture(pictures: Pictures) -> None:
    """By hand: Pillow's operations on a shifted and mirrored image, weighted by the plan."""
    images = pictures(0, 3, 3, 11, 14)
    plan = draw_plan(range(3), seed=2, epoch=0, image_size=(11, 14), width=2, depth=None, views=3, pad=5, flip=True)
    assert plan.crop.any() and 0 < plan.flip.sum() < 3
    views = era_views_reference(images, plan)
    assert views.shape == (3, 3, 3, 11, 14) and views.dtype == np.float32
    for n, image in enumerate(images):
        clean = np.zeros_like(image)
        for y in range(11):
            for x in range(14):
                source_y, source_x = y + plan.crop[n, 0], x + plan.crop[n, 1]
                if 0 <= source_y < 11 and 0 <= source_x < 14:
                    clean[:, y, 13 - x if plan.flip[n] else x] = image[:, source_y, source_x]
        np.testing.assert_array_equal(views[0, n], clean / np.float32(255))
        for view in range(2):
            expected = (1 - float(plan.mix[n, view])) * clean
            for chain in range(2):
                result = Image.fromarray(np.ascontiguousarray(clean.transpose(1, 2, 0)))
                for op, arg in zip(plan.ops[n, view, chain], plan.args[n, view, chain]):
                    result = result if op == NO_OPERATION else apply_operation(result, OPERATIONS[op], float(arg))
                weight = float(plan.mix[n, view]) * float(plan.chain_weights[n, view, chain])
                expected += weight * np.asarray(result, float).transpose(2, 0, 1)
            np.testing.assert_allclose(views[view + 1, n], expected / 255, atol=1e-6)


@pytest.mark.parametrize("channels", [1, 2, 3, 5])
def test_channels_do_not_mix(pictures: Pictures, channels: int) -> None:
    images = pictures(1, 6, channels, 12, 9)
    assert np.array_equal(from_pillow(to_pillow(images[0])), images[0])
    plan = draw_plan(range(6), seed=0, epoch=0, image_size=(12, 9), severity=10, pad=2, flip=True)
    views = era_views_reference(images, plan)
    for channel in range(channels):
        alone = era_views_reference(images[:, channel : channel + 1], plan)
        np.testing.assert_array_equal(views[:, :, channel : channel + 1], alone)


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_operations_keep_size_and_mode_and_mean_what_they_say(pictures: Pictures, mode: str) -> None:
    array = pictures(2, 1, len(Image.new(mode, (1, 1)).getbands()), 30, 40)[0]
    (image,) = to_pillow(array)

    def levels(name: str, arg: float) -> np.ndarray:
        result = apply_operation(image, name, arg)
        assert (result.size, result.mode) == ((40, 30), mode)
        return from_pillow([result])

    assert np.array_equal(levels("posterize", 8), array) and not levels("posterize", 0).any()
    assert np.array_equal(levels("posterize", 3), array & 0b11100000)
    assert np.array_equal(levels("solarize", 256), array) and np.array_equal(levels("solarize", 0), 255 - array)
    stretched = levels("autocontrast", 0)
    assert (stretched.min((1, 2)) == 0).all() and (stretched.max((1, 2)) >= 254).all()
    for before, after in zip(array, levels("equalize", 0)):
        order = np.argsort(before, axis=None)
        assert (np.diff(after.ravel()[order].astype(int)) >= 0).all()
        assert after.min() < 20 and after.max() > 235 and abs(after.mean() - 128) < 30
    assert np.array_equal(levels("translate_x", 3)[:, :, :-3], array[:, :, 3:]) and not levels("translate_x", 3)[:, :, -3:].any()
    assert np.array_equal(levels("translate_y", -2)[:, 2:], array[:, :-2])
    assert np.array_equal(levels("rotate", 180), array[:, ::-1, ::-1])
    assert np.array_equal(levels("shear_x", 0.2)[:, 7, :-2], (array[:, 7, 1:-1] * 0.5 + array[:, 7, 2:] * 0.5).astype(np.uint8))
    assert np.array_equal(levels("shear_y", 0.0), array)


def test_no_augmented_view_no_image_and_white() -> None:
    white = np.full((4, 3, 8, 8), 255, np.uint8)
    plan = draw_plan(range(4), seed=0, epoch=0, image_size=(8, 8), width=3, views=9)
    still = dataclasses.replace(plan, ops=np.full_like(plan.ops, NO_OPERATION))
    views = era_views_reference(white, still)
    assert views.max() == 1 and views.min() > 1 - 1e-6
    assert era_views_reference(white, draw_plan(range(4), seed=0, epoch=0, image_size=(8, 8), views=1)).shape == (1, 4, 3, 8, 8)
    assert era_views_reference(white[:0], plan.select(slice(0, 0))).shape == (9, 0, 3, 8, 8)
