"""Blurs: the published kernels at 32×32, and the same blur relative to the image at other sizes."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
from scipy import ndimage

from gearnn.robustness import SEVERITIES, corrupt
from gearnn.robustness.blur import _copy_neighbours, disk_kernel, line_kernel, zoom_matrix

DEFOCUS = ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1.0, 0.2), (1.5, 0.1))
TRUNCATION = 1 / 3  # mean square in levels² of what rounding down takes off


def _spread(kernel: np.ndarray) -> float:
    """Standard deviation along one axis, in pixels."""
    offsets = np.arange(len(kernel)) - len(kernel) // 2
    return float(np.sqrt((kernel.sum(axis=0) * offsets**2).sum() / kernel.sum()))


@pytest.mark.parametrize(("radius", "smoothing"), [*DEFOCUS, (2.5, 0.01), (3, 0.1), (6, 0.5), (8, 0.5), (10, 0.5)])
def test_disk_is_the_published_one(radius: float, smoothing: float) -> None:
    reach, taps = (8, 3) if radius <= 8 else (10, 5)
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    disk = (x**2 + y**2 <= radius**2).astype(np.float32)
    expected = cv2.GaussianBlur(disk / disk.sum(), ksize=(taps, taps), sigmaX=smoothing)
    kernel = disk_kernel(radius, smoothing, 1.0)
    np.testing.assert_allclose(np.pad(kernel, reach - len(kernel) // 2), expected, atol=1e-7)


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


@pytest.mark.parametrize(
    ("side", "severity", "end", "step"),
    [(32, severity, end, 0.01) for severity, end in zip(SEVERITIES, (1.06, 1.11, 1.16, 1.21, 1.26))]
    + [(64, 2, 1.11, 0.01), (224, 5, 1.31, 0.03)],
)
def test_zoom_blur_is_the_mean_of_scipys_zooms(side: int, severity: int, end: float, step: float) -> None:
    image = np.random.default_rng(1).integers(0, 256, (1, 3, side, side), dtype=np.uint8)
    total, factors = image[0].astype(float), np.arange(1, end, step)
    for factor in factors:
        kept = math.ceil(side / factor)
        first = (side - kept) // 2
        larger = ndimage.zoom(image[0, :, first : first + kept, first : first + kept].astype(float), (1, factor, factor), order=1)
        trim = (larger.shape[1] - side) // 2
        total += larger[:, trim : trim + side, trim : trim + side]
    expected = total / (len(factors) + 1)
    changed = corrupt(image, "zoom_blur", severity)
    assert np.abs(changed - np.floor(expected + 1e-3)).max() <= 1
    assert np.mean((changed - image.astype(float)) ** 2) == pytest.approx(np.mean((expected - image) ** 2), rel=0.01)


def test_zoom_blur_works_on_each_axis_alone() -> None:
    image = np.random.default_rng(1).integers(0, 256, (1, 3, 17, 23), dtype=np.uint8)
    factors = np.arange(1, 1.16, 0.01)
    zooms = [zoom_matrix(17, factor) @ (image[0] / 255) @ zoom_matrix(23, factor).T for factor in factors]
    expected = (image[0] / 255 + np.sum(zooms, axis=0)) / (len(factors) + 1) * 255
    np.testing.assert_allclose(corrupt(image, "zoom_blur", 3)[0], expected, atol=1.01)


WAVE = (0.14, 0.09)  # cycles per pixel down and across


def _waves(side: int) -> np.ndarray:
    """Plane waves of amplitude 100, uint8 (8, 3, side, side): convolution multiplies each by one number."""
    y, x = np.mgrid[0:side, 0:side]
    phases = 2 * np.pi * (WAVE[0] * y + WAVE[1] * x)
    return np.stack([np.round(128 + 100 * np.cos(phases + i)) for i in range(24)]).reshape(8, 3, side, side).astype(np.uint8)


def _check_gain(side: int, name: str, severity: int, gain: float, margin: int) -> None:
    """A wave becomes ``gain`` times itself, and the error is that of (1 − gain) times the wave."""
    images = _waves(side)
    inner = (slice(None), slice(None), slice(margin, -margin), slice(margin, -margin))
    before, after = images[inner].astype(float), corrupt(images, name, severity)[inner].astype(float)
    assert np.cov(before.ravel(), after.ravel())[0, 1] / before.var() == pytest.approx(gain, abs=0.004)
    psnr = 10 * np.log10(255**2 / np.mean((after - before) ** 2))
    assert psnr == pytest.approx(10 * np.log10(255**2 / ((1 - gain) ** 2 * before.var() + TRUNCATION)), abs=0.2)
    assert after.mean() == pytest.approx(gain * before.mean() + (1 - gain) * 128 - 0.5, abs=0.25)


def _gain(offsets: np.ndarray, weights: np.ndarray, frequency: float) -> float:
    return float((weights * np.cos(2 * np.pi * frequency * offsets)).sum() / weights.sum())


@pytest.mark.parametrize(
    ("side", "severity", "deviation"),
    [(32, *level) for level in zip(SEVERITIES, (0.4, 0.6, 0.7, 0.8, 1.0))] + [(64, 5, 1.5), (96, 1, 0.75), (224, 2, 2.0)],
)
def test_gaussian_blur(side: int, severity: int, deviation: float) -> None:
    reach = int(4 * deviation + 0.5)
    offsets = np.arange(-reach, reach + 1)
    weights = np.exp(-0.5 * (offsets / deviation) ** 2)
    gain = _gain(offsets, weights, WAVE[0]) * _gain(offsets, weights, WAVE[1])
    if deviation >= 0.7:
        assert gain == pytest.approx(math.exp(-2 * (math.pi * deviation) ** 2 * (WAVE[0] ** 2 + WAVE[1] ** 2)), rel=0.01)
    _check_gain(side, "gaussian_blur", severity, gain, reach + 1)


@pytest.mark.parametrize(
    ("side", "severity", "radius", "smoothing"),
    [(32, severity, *level) for severity, level in zip(SEVERITIES, DEFOCUS)]
    + [(64, 1, 0.5, 0.6), (64, 5, 3.0, 0.1), (224, 2, 4.0, 0.5), (224, 3, 6.0, 0.5)],
)
def test_defocus_blur(side: int, severity: int, radius: float, smoothing: float) -> None:
    y, x = np.mgrid[-10:11, -10:11]
    disk = (x**2 + y**2 <= radius**2).astype(float)
    gain = float((disk * np.cos(2 * np.pi * (WAVE[0] * y + WAVE[1] * x))).sum() / disk.sum())
    offsets = np.array([-1, 0, 1])
    edge = np.exp(-0.5 * (offsets / smoothing) ** 2)
    gain *= _gain(offsets, edge, WAVE[0]) * _gain(offsets, edge, WAVE[1])
    _check_gain(side, "defocus_blur", severity, gain, math.ceil(radius) + 3)


@pytest.mark.parametrize(
    ("side", "severity", "radius", "deviation"),
    [(32, *level) for level in zip(SEVERITIES, (6, 6, 6, 8, 9), (1.0, 1.5, 2.0, 2.0, 2.5))]
    + [(64, 5, 12, 3.0), (224, 2, 15, 5.0)],
)
def test_motion_blur(side: int, severity: int, radius: int, deviation: float) -> None:
    """A dot becomes half a Gaussian: its mean distance and mean square distance from where it was."""
    count = 96 if side < 224 else 24
    rng = np.random.default_rng(0)
    images = rng.integers(10, 50, (count, 3, side, side), dtype=np.uint8)
    dotted, middle = images.copy(), side // 2
    dotted[:, :, middle, middle] += 200
    light = corrupt(dotted, "motion_blur", severity).astype(float) - corrupt(images, "motion_blur", severity)
    light = light.mean(axis=1)
    y, x = np.mgrid[0:side, 0:side] - middle
    totals = light.sum(axis=(1, 2))
    centres = np.stack([(light * y).sum(axis=(1, 2)) / totals, (light * x).sum(axis=(1, 2)) / totals])
    squares = (light * (x**2 + y**2)).sum(axis=(1, 2)) / totals
    steps = np.arange(2 * radius + 1)
    weights = np.exp(-0.5 * (steps / deviation) ** 2)
    weights /= weights.sum()
    directions = np.radians(np.arange(-44.5, 45))
    places = np.ceil(steps * np.stack([np.sin(directions), np.cos(directions)])[..., None] - 0.5)  # as ImageMagick rounds
    assert totals.mean() == pytest.approx(200, rel=0.01)
    assert np.hypot(*centres).mean() == pytest.approx(np.hypot(*(places @ weights)).mean(), rel=0.03)
    assert squares.mean() == pytest.approx(((places**2).sum(axis=0) @ weights).mean(), rel=0.06)
    angles = np.degrees(np.arctan2(centres[0], -centres[1]))
    assert -52 < angles.min() < -30 and 30 < angles.max() < 52
    assert abs(angles.mean()) < 3 * 26 / count**0.5


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


@pytest.mark.parametrize(
    ("side", "severity", "deviation", "passes"),
    [(32, 1, 0.05, 1), (32, 2, 0.25, 1), (32, 3, 0.4, 1), (32, 4, 0.25, 2), (32, 5, 0.4, 2), (64, 1, 0.1, 1), (64, 2, 0.5, 1)],
)
def test_glass_blur_moves_by_the_published_shifts(side: int, severity: int, deviation: float, passes: int) -> None:
    """On ramps: every pass moves a pixel by 0 or 1, mean 1/2, variance 1/4; the last blur shrinks the variance."""
    step = 255 // side
    y, x = np.mgrid[0:side, 0:side] * step
    ramps = np.repeat(np.stack([y, x, (x + y) // 2]).astype(np.uint8)[None], 24, axis=0)
    changed = corrupt(ramps, "glass_blur", severity).astype(float)
    inner = slice(6, -6)
    moved = (ramps[:, :2, inner, inner] - changed[:, :2, inner, inner]) / step
    offsets = np.arange(-int(4 * deviation + 0.5), int(4 * deviation + 0.5) + 1)
    weights = np.exp(-0.5 * (offsets / deviation) ** 2)
    if deviation < 0.125:  # no blur
        mean, variance = passes / 2, passes / 4
    elif deviation < 0.3:  # too little blur for more than this: rounding down takes a level from what is above its neighbours
        mean, variance = passes / 2 + 0.5 / step, passes / 4 * (1 - 1 / (passes * step)) ** 2
    else:
        mean, variance = passes / 2 + 0.5 / step, passes / 4 * np.sum((weights / weights.sum()) ** 2) ** 2 + 1 / 12 / step**2
    assert moved.mean() == pytest.approx(mean, abs=0.1 / step)
    assert moved.var() == pytest.approx(variance, rel=0.08)


@pytest.mark.parametrize("reach", [1, 2, 3])
def test_glass_visits_pixels_one_after_the_other(reach: int) -> None:
    """Groups of pixels give what the loop over single pixels gives."""
    pixels = np.random.default_rng(0).integers(0, 256, (19, 23, 4, 3), dtype=np.uint8)
    expected, height, width = pixels.copy(), 19, 23
    for image in range(4):
        rows, columns = range(height - reach, reach, -1), range(width - reach, reach, -1)
        shifts = np.random.default_rng(image).integers(-reach, reach, (len(rows), len(columns), 2), dtype=np.int32)
        for i, row in enumerate(rows):
            for j, column in enumerate(columns):
                down, right = shifts[i, j]
                expected[row, column, image] = expected[row + down, column + right, image]
    _copy_neighbours(pixels, reach, [np.random.default_rng(image) for image in range(4)])
    assert np.array_equal(pixels, expected)
