"""The torch execution of plans, against Pillow executing the same plans."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from gearnn.augment.reference import apply_plan, apply_step
from gearnn.kernels.era_plan import NO_OPERATION, OPERATIONS, draw_plan

TABLES = ("autocontrast", "equalize", "posterize", "solarize")


def pictures(seed, batch, channels, height, width):
    """Textured images: random surfaces with edges and noise, each channel in a random range of levels."""
    rng = np.random.default_rng(seed)
    shape = (batch, channels, height, width)
    surface = rng.normal(size=shape).cumsum(2).cumsum(3)
    surface -= surface.min((2, 3), keepdims=True)
    surface /= surface.max((2, 3), keepdims=True) + 1e-9
    surface = np.where(rng.random((batch, 1, 1, 1)) < 0.5, np.round(surface * 6) / 6, surface)
    surface = np.clip(surface + 0.03 * rng.normal(size=shape), 0, 1)
    low = rng.integers(0, 120, (batch, channels, 1, 1))
    return (low + surface * rng.integers(0, 136, low.shape)).astype(np.uint8)


def to_pillow(image):
    return Image.fromarray(image[0] if len(image) == 1 else np.ascontiguousarray(image.transpose(1, 2, 0)))


def from_pillow(image):
    array = np.asarray(image)
    return array[None] if array.ndim == 2 else array.transpose(2, 0, 1)


def pillow_operation(image, name, arg):
    if name == "autocontrast":
        return ImageOps.autocontrast(image)
    if name == "equalize":
        return ImageOps.equalize(image)
    if name == "posterize":
        return ImageOps.posterize(image, int(arg))
    if name == "solarize":
        return ImageOps.solarize(image, int(arg))
    if name == "rotate":
        return image.rotate(arg, resample=Image.BILINEAR)
    matrix = {
        "shear_x": (1, arg, 0, 0, 1, 0),
        "shear_y": (1, 0, 0, arg, 1, 0),
        "translate_x": (1, 0, arg, 0, 1, 0),
        "translate_y": (1, 0, 0, 0, 1, arg),
    }[name]
    return image.transform(image.size, Image.AFFINE, matrix, resample=Image.BILINEAR)


def pillow_plan(image, plan, row):
    """All views of one image, float64 (J, C, H, W)."""
    (dy, dx), pad = plan.crop[row], 8
    _, height, width = image.shape
    clean = np.pad(image, ((0, 0), (pad, pad), (pad, pad)))[:, pad + dy : pad + dy + height, pad + dx : pad + dx + width]
    if plan.flip[row]:
        clean = clean[:, :, ::-1]
    views = [clean / 255]
    for view in range(plan.views - 1):
        mixture = 0.0
        for chain, weight in enumerate(plan.chain_weights[row, view]):
            result = to_pillow(clean)
            for op, arg in zip(plan.ops[row, view, chain], plan.args[row, view, chain]):
                if op != NO_OPERATION:
                    result = pillow_operation(result, OPERATIONS[op], float(arg))
            mixture = mixture + float(weight) * from_pillow(result) / 255
        m = float(plan.mix[row, view])
        views.append((1 - m) * clean / 255 + m * mixture)
    return np.stack(views)


def run_step(images, ops, args):
    batch = torch.from_numpy(images.copy())
    apply_step(batch, np.asarray(ops), np.asarray(args, np.float32))
    return batch.numpy()


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    channels=st.sampled_from([1, 3]),
    height=st.integers(8, 64),
    width=st.integers(8, 64),
    severity=st.sampled_from([1.0, 3.0, 10.0]),
)
def test_every_operation_is_pillows(seed, channels, height, width, severity):
    images = pictures(seed, 18, channels, height, width)
    plan = draw_plan(
        range(200), seed=seed, epoch=0, image_size=(height, width), severity=severity, views=2, depth=1
    )  # enough to hold each operation twice
    order = np.argsort(plan.ops.ravel(), kind="stable")
    rows = np.concatenate([order[plan.ops.ravel()[order] == op][:2] for op in range(9)])
    ops, args = plan.ops.ravel()[rows], plan.args.ravel()[rows]
    results = run_step(images, ops, args)
    for image, op, arg, result in zip(images, ops, args, results):
        expected = from_pillow(pillow_operation(to_pillow(image), OPERATIONS[op], float(arg)))
        if OPERATIONS[op] in TABLES:
            np.testing.assert_array_equal(result, expected, err_msg=f"{OPERATIONS[op]} {arg}")
        else:
            difference = np.abs(result.astype(int) - expected)
            assert difference.max() <= 1, (OPERATIONS[op], arg)
            assert np.mean(difference == 0) >= 0.995, (OPERATIONS[op], arg)


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    channels=st.sampled_from([1, 3]),
    height=st.integers(8, 40),
    width=st.integers(8, 40),
    shape=st.sampled_from([(1, 3, 4), (3, None, 3), (2, 2, 2), (1, 3, 1)]),
)
def test_whole_plans_are_pillows(seed, channels, height, width, shape):
    chains, depth, views = shape
    images = pictures(seed, 3, channels, height, width)
    plan = draw_plan(
        range(3), seed=seed, epoch=0, image_size=(height, width), width=chains, depth=depth, views=views, pad=8, flip=True
    )
    result = apply_plan(torch.from_numpy(images), plan).numpy()
    assert result.shape == (views, *images.shape) and result.dtype == np.float32
    assert result.min() >= 0 and result.max() <= 1
    for row, image in enumerate(images):
        expected = pillow_plan(image, plan, row)
        np.testing.assert_allclose(result[0, row], expected[0], atol=1e-7)
        # A level lost to rounding in a warp may be amplified by a later equalize, hence the share.
        assert np.mean(np.abs(result[:, row] - expected) < 1e-5) >= 0.99


@pytest.mark.parametrize("value", [0, 1, 128, 255])
def test_constant_images_pass_the_contrast_tables(value):
    images = np.full((2, 3, 9, 11), value, np.uint8)
    ops = [OPERATIONS.index("autocontrast"), OPERATIONS.index("equalize")]
    np.testing.assert_array_equal(run_step(images, ops, [0, 0]), images)


def test_two_valued_and_tiny_images():
    rng = np.random.default_rng(0)
    for size in (1, 2, 3, 5, 16):
        images = rng.choice(np.array([17, 203], np.uint8), (9, 3, size, size))
        ops, args = np.arange(9), np.array([0, 0, 3, 9, 128, 0.2, -0.2, 1, -1], np.float32)
        for image, op, arg, result in zip(images, ops, args, run_step(images, ops, args)):
            expected = from_pillow(pillow_operation(to_pillow(image), OPERATIONS[op], float(arg)))
            assert np.abs(result.astype(int) - expected).max() <= 1, OPERATIONS[op]


def test_no_operation_and_zero_warps_change_nothing():
    images = pictures(0, 6, 3, 16, 16)
    ops = [NO_OPERATION, *(OPERATIONS.index(name) for name in ("rotate", "shear_x", "shear_y", "translate_x", "translate_y"))]
    np.testing.assert_array_equal(run_step(images, ops, np.zeros(6)), images)


@pytest.mark.parametrize("shift", [0.5, -0.5, 3.5, -7.5])
@pytest.mark.parametrize("name", ["translate_x", "translate_y"])
def test_sources_on_the_very_border(name, shift):
    images = np.maximum(pictures(0, 1, 3, 15, 22), 1)
    expected = from_pillow(pillow_operation(to_pillow(images[0]), name, shift))
    result = run_step(images, [OPERATIONS.index(name)], [shift])[0]
    np.testing.assert_array_equal(result, expected)
    assert (result == 0).any() == (shift != -0.5)  # the left and top border belong to the image, the others do not


def test_directions():
    image = np.zeros((1, 1, 9, 9), np.uint8)
    image[0, 0, 2, 4] = 200
    moved = {name: run_step(image, [OPERATIONS.index(name)], [2])[0, 0] for name in ("translate_x", "translate_y")}
    assert moved["translate_x"][2, 2] == 200 and moved["translate_y"][0, 4] == 200
    turned = run_step(image, [OPERATIONS.index("rotate")], [30])[0, 0]
    assert turned[:, :4].sum() > 0 and turned[:, 5:].sum() == 0  # counter-clockwise: the top goes left


def test_the_result_does_not_depend_on_the_chunks(monkeypatch):
    images = torch.from_numpy(pictures(0, 10, 3, 20, 12))
    plan = draw_plan(range(10), seed=0, epoch=0, image_size=(20, 12), width=2, pad=2, flip=True)
    whole = apply_plan(images, plan)
    monkeypatch.setattr("gearnn.augment.reference._CHUNK", 3 * 3 * 2 * 3 * 20 * 12)
    assert torch.equal(apply_plan(images, plan), whole)
    monkeypatch.setattr("gearnn.augment.reference._CHUNK", 1)
    assert torch.equal(apply_plan(images, plan), whole)


def test_white_stays_white():
    images = torch.full((50, 3, 8, 8), 255, dtype=torch.uint8)
    plan = draw_plan(range(50), seed=0, epoch=0, image_size=(8, 8), width=3)
    plan = dataclasses.replace(plan, ops=np.full_like(plan.ops, NO_OPERATION))
    views = apply_plan(images, plan)
    assert views.max() == 1 and views.min() > 1 - 1e-6


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_agrees_with_the_cpu():
    images = torch.from_numpy(pictures(0, 32, 3, 33, 47))
    plan = draw_plan(range(32), seed=0, epoch=0, image_size=(33, 47), width=2, pad=4, flip=True)
    expected, result = apply_plan(images, plan), apply_plan(images.cuda(), plan)
    assert result.is_cuda
    assert ((result.cpu() - expected).abs() < 1e-4).float().mean() > 0.995


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (torch.zeros(2, 3, 8, 8), "uint8"),
        (torch.zeros(3, 8, 8, dtype=torch.uint8), "uint8"),
        (torch.zeros(3, 1, 8, 8).byte(), "2"),
    ],
)
def test_refuses_what_does_not_fit_the_plan(images, message):
    plan = draw_plan([0, 1], seed=0, epoch=0, image_size=(8, 8))
    with pytest.raises(ValueError, match=message):
        apply_plan(images, plan)
