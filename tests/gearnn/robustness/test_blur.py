"""Blurs: the published kernels at 32×32, and the same blur relative to the image at other sizes."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
from scipy import ndimage

from gearnn.robustness import SEVERITIES, corrupt
from gearnn.robustness.blur import DEFOCUS, disk_kernel, line_kernel, zoom_matrix


def _spread(kernel: np.ndarray) -> float:
    """Standard deviation along one axis, in pixels."""
    offsets = np.arange(len(kernel)) - len(kernel) // 2
    return float(np.sqrt((kernel.sum(axis=0) * offsets**2).sum() / kernel.sum()))


@pytest.mark.parametrize("severity", SEVERITIES)
def test_disk_is_the_published_one_at_32(severity: int) -> None:
    radius, smoothing = DEFOCUS[severity - 1]
    y, x = np.mgrid[-8:9, -8:9]
    disk = (x**2 + y**2 <= radius**2).astype(np.float32)
    expected = cv2.GaussianBlur(disk / disk.sum(), ksize=(3, 3), sigmaX=smoothing)
    kernel = disk_kernel(radius, smoothing, 1.0)
    margin = 8 - len(kernel) // 2
    np.testing.assert_allclose(np.pad(kernel, margin), expected, atol=1e-7)


@pytest.mark.parametrize("scale", [0.25, 0.5, 0.875, 1.3, 2.0, 3.0])
def test_disk_scales_with_the_image(scale: float) -> None:
    for radius, smoothing in DEFOCUS:
        kernel = disk_kernel(radius, smoothing, scale)
        assert kernel.sum() == pytest.approx(1, abs=1e-5)
        assert np.allclose(kernel, kernel[::-1, ::-1], atol=1e-7)
    widest = _spread(disk_kernel(*DEFOCUS[4], scale)) / _spread(disk_kernel(*DEFOCUS[4], 1.0))
    # Below one pixel a kernel cannot shrink in proportion: sharing weights between neighbours widens it to √scale.
    assert 0.85 * scale < widest < max(1.01 * scale**0.5, 1.2 * scale)


@pytest.mark.parametrize("side", [8, 16, 28])
def test_defocus_does_not_vanish_in_small_images(side: int, photos: np.ndarray) -> None:
    small = np.stack([cv2.resize(photo.transpose(1, 2, 0), (side, side), interpolation=cv2.INTER_AREA) for photo in photos])
    images = np.ascontiguousarray(small.transpose(0, 3, 1, 2))
    errors = [np.mean((corrupt(images, "defocus_blur", level).astype(float) - images) ** 2) for level in SEVERITIES]
    assert errors[-1] > 2 * errors[0] > 0
    assert errors[-1] > 20


def test_zoom_matrix_is_scipys_zoom_cut_as_published() -> None:
    images = np.random.default_rng(0).random((32, 32))
    for factor in np.arange(1, 1.26, 0.01):
        kept = math.ceil(32 / factor)
        first = (32 - kept) // 2
        larger = ndimage.zoom(images[first : first + kept, first : first + kept], factor, order=1)
        trim = (len(larger) - 32) // 2
        expected = larger[trim : trim + 32, trim : trim + 32]
        np.testing.assert_allclose(zoom_matrix(32, factor) @ images @ zoom_matrix(32, factor).T, expected, atol=1e-5)


@pytest.mark.parametrize(("height", "width"), [(32, 32), (17, 23)])
def test_zoom_blur_is_the_mean_of_the_zooms(height: int, width: int) -> None:
    image = np.random.default_rng(1).integers(0, 256, (1, 3, height, width), dtype=np.uint8)
    factors = np.arange(1, 1.16, 0.01)
    zooms = [zoom_matrix(height, factor) @ (image[0] / 255) @ zoom_matrix(width, factor).T for factor in factors]
    expected = (image[0] / 255 + np.sum(zooms, axis=0)) / (len(factors) + 1) * 255
    np.testing.assert_allclose(corrupt(image, "zoom_blur", 3)[0], expected, atol=1.01)


def test_motion_trails_to_one_side_with_gaussian_weights() -> None:
    kernel = line_kernel(6, 2.0, 0.0)
    middle = len(kernel) // 2
    weights = kernel[middle, middle:]
    assert kernel.sum() == pytest.approx(weights.sum()) == pytest.approx(1)
    np.testing.assert_allclose(weights / weights[0], np.exp(-(np.arange(len(weights)) ** 2) / 8), rtol=1e-5)
    down = line_kernel(6, 2.0, -90.0)
    assert down[: middle + 1, middle].sum() == pytest.approx(1)


def test_glass_moves_pixels_by_one_up_or_left() -> None:
    image = np.arange(1024, dtype=np.int64).reshape(32, 32)
    pixels = np.stack([image // 32 * 8, image % 32 * 8, image * 0]).astype(np.uint8)[None]
    row, column, _ = corrupt(pixels, "glass_blur", 1)[0].astype(int)
    shifts = np.stack([np.mgrid[0:32, 0:32][0] - row // 8, np.mgrid[0:32, 0:32][1] - column // 8])
    inner = shifts[:, 2:, 2:]
    assert set(np.unique(inner)) == {0, 1}
    assert np.mean(inner) == pytest.approx(0.5, abs=0.06)
    assert not shifts[:, :2].any() and not shifts[:, :, :2].any()
