"""Digital corruptions: Pillow's own, exact formulas, and the published displacements."""

from __future__ import annotations

import colorsys
import io
from typing import Tuple

import cv2
import numpy as np
import pytest
from PIL import Image

from gearnn.robustness import SEVERITIES, corrupt

# α, σ, jitter in pixels at 32, 64 and 224: strength, smoothness of the field, largest move of the affine map's points
ELASTIC = [
    (32, 1, (0, 0, 2.56)),
    (32, 2, (1.6, 6.4, 2.24)),
    (32, 3, (2.56, 1.92, 1.92)),
    (32, 4, (3.2, 1.28, 1.6)),
    (32, 5, (3.2, 0.96, 0.96)),
    (64, 5, (10.24, 1.92, 1.28)),
    (224, 3, (12.2, 2.44, 4.88)),
]


def _photos_at(side: int, photos: np.ndarray) -> np.ndarray:
    larger = [cv2.resize(photo.transpose(1, 2, 0), (side, side), interpolation=cv2.INTER_CUBIC) for photo in photos[:2]]
    return np.ascontiguousarray(np.stack(larger).transpose(0, 3, 1, 2))


def _pillow(image: np.ndarray) -> Image.Image:
    return Image.fromarray(np.ascontiguousarray(image.transpose(1, 2, 0)))


@pytest.mark.parametrize(
    ("side", "severity", "quality"),
    [(32, *level) for level in zip(SEVERITIES, (80, 65, 58, 50, 40))] + [(64, 5, 25), (224, 5, 7)],
)
def test_jpeg_is_pillows(side: int, severity: int, quality: int, photos: np.ndarray) -> None:
    images = _photos_at(side, photos)
    buffer = io.BytesIO()
    _pillow(images[1]).save(buffer, "JPEG", quality=quality)
    expected = np.asarray(Image.open(buffer)).transpose(2, 0, 1)
    assert np.array_equal(corrupt(images, "jpeg_compression", severity)[1], expected)


@pytest.mark.parametrize(
    ("side", "severity", "small"), [(32, *level) for level in zip(SEVERITIES, (30, 28, 27, 24, 20))] + [(64, 4, 38), (224, 4, 67)]
)
def test_pixelate_is_pillows(side: int, severity: int, small: int, photos: np.ndarray) -> None:
    images = _photos_at(side, photos)
    box = Image.Resampling.BOX
    expected = np.asarray(_pillow(images[1]).resize((small, small), box).resize((side, side), box)).transpose(2, 0, 1)
    assert np.array_equal(corrupt(images, "pixelate", severity)[1], expected)


@pytest.mark.parametrize(
    ("side", "severity", "factor"),
    [(32, *level) for level in zip(SEVERITIES, (0.75, 0.5, 0.4, 0.3, 0.15))] + [(64, 1, 0.4), (224, 4, 0.1)],
)
def test_contrast(side: int, severity: int, factor: float, photos: np.ndarray) -> None:
    images = _photos_at(side, photos) if side > 32 else photos
    means = images.mean(axis=(2, 3), keepdims=True)
    changed = corrupt(images, "contrast", severity)
    np.testing.assert_allclose(changed, (images - means) * factor + means, atol=1.01)
    error = changed.astype(float) - images
    variance = np.mean((images - means) ** 2)
    assert np.mean(error**2) == pytest.approx((1 - factor) ** 2 * variance + 1 / 3, rel=0.01)
    assert error.mean() == pytest.approx(-0.5, abs=0.1)


SATURATE = ((0.3, 0), (0.1, 0), (1.5, 0), (2, 0.1), (2.5, 0.2))
BRIGHTNESS = (0.05, 0.1, 0.15, 0.2, 0.3)


def _in_hsv(images: np.ndarray, scale: Tuple[float, float], shift: Tuple[float, float]) -> np.ndarray:
    """S · scale[0] + shift[0] and V · scale[1] + shift[1], pixel by pixel, in levels."""
    pixels = images.transpose(0, 2, 3, 1).reshape(-1, 3) / 255
    changed = []
    for pixel in pixels:
        hue, saturation, value = colorsys.rgb_to_hsv(*pixel)
        saturation, value = saturation * scale[0] + shift[0], value * scale[1] + shift[1]
        changed.append(colorsys.hsv_to_rgb(hue, min(saturation, 1), min(value, 1)))
    count, _, height, width = images.shape
    return 255 * np.array(changed).reshape(count, height, width, 3).transpose(0, 3, 1, 2)


def _colourful(photos: np.ndarray) -> np.ndarray:
    """Some pixels of photographs, greys and black among them, uint8 (2, 3, 32, 32)."""
    images = photos[[3, 20]].copy()
    images[0, :, :4] = images[0, :1, :4]
    images[1, :, :2] = 0
    return images


@pytest.mark.parametrize(
    ("name", "severity", "scale", "shift"),
    [("saturate", severity, (factor, 1), (added, 0)) for severity, (factor, added) in zip(SEVERITIES, SATURATE)]
    + [("brightness", severity, (1, 1), (0, added)) for severity, added in zip(SEVERITIES, BRIGHTNESS)],
)
def test_hue_saturation_value(
    name: str, severity: int, scale: Tuple[float, float], shift: Tuple[float, float], photos: np.ndarray
) -> None:
    images = _colourful(photos)
    expected = _in_hsv(images, scale, shift)
    changed = corrupt(images, name, severity)
    assert np.abs(changed - np.floor(expected + 1e-3)).max() <= 1
    assert np.mean((changed.astype(float) - images) ** 2) == pytest.approx(np.mean((np.floor(expected) - images) ** 2), rel=0.02)
    assert changed.mean() - images.mean() == pytest.approx(np.floor(expected + 1e-3).mean() - images.mean(), abs=0.1)


@pytest.mark.parametrize(("side", "severity", "factor", "added"), [(64, 1, 0.3, 0), (64, 4, 5, 0.1), (224, 3, 2, 0)])
def test_saturate_at_other_sizes(side: int, severity: int, factor: float, added: float, photos: np.ndarray) -> None:
    images = _photos_at(side, photos)
    corner = _in_hsv(images[:1, :, :20, :20], (factor, 1), (added, 0))
    assert np.abs(corrupt(images, "saturate", severity)[:1, :, :20, :20] - corner).max() <= 1.01


def test_saturating_grey_images_is_saturating_their_colour_copies(photos: np.ndarray) -> None:
    grey = np.ascontiguousarray(photos[:, :1])
    for severity in SEVERITIES:
        colour = corrupt(np.repeat(grey, 3, axis=1), "saturate", severity)
        luma = (colour * np.array([0.299, 0.587, 0.114]).reshape(1, 3, 1, 1)).sum(axis=1)
        assert np.abs(corrupt(grey, "saturate", severity)[:, 0] - luma).max() <= 2


def _affine_displacement(jitter: float, side: int) -> float:
    """Mean square displacement in pixels², both axes, at the middle under the published random affine maps, as applied."""
    rng = np.random.default_rng(0)
    middle, third = side // 2, side // 3
    points = np.array(
        [[middle + third, middle + third], [middle + third, middle - third], [middle - third, middle - third]], float
    )
    place = np.array([middle, middle, 1.0])
    squares = []
    for _ in range(2000):
        moved = points + rng.uniform(-jitter, jitter, (3, 2))
        matrix = np.linalg.solve(np.c_[moved, np.ones(3)], points)  # from where a pixel comes
        squares.append(np.sum((place @ matrix - place[:2]) ** 2))
    return float(np.mean(squares))


@pytest.mark.parametrize(("side", "severity", "parameters"), ELASTIC)
def test_elastic_displacements(side: int, severity: int, parameters: Tuple[float, float, float]) -> None:
    """Ramps tell from where each pixel came: affine jitter plus α times smoothed noise of variance 1/3."""
    strength, smoothness, jitter = parameters
    count, step = (400, 255 / side) if side < 224 else (60, 255 / side)
    y, x = np.mgrid[0:side, 0:side]
    ramps = np.stack([np.floor(y * step), np.floor(x * step), np.floor((x + y) * step / 2)]).astype(np.uint8)
    changed = corrupt(np.repeat(ramps[None], count, axis=0), "elastic_transform", severity).astype(float)
    middle = slice(side // 2 - 2, side // 2 + 3)
    moved = (changed[:, :2, middle, middle] - ramps[None, :2, middle, middle]) / step
    expected = _affine_displacement(jitter, side)
    if strength:
        offsets = np.arange(-int(3 * smoothness + 0.5), int(3 * smoothness + 0.5) + 1)
        weights = np.exp(-0.5 * (offsets / smoothness) ** 2)
        weights /= weights.sum()
        expected += 2 * strength**2 / 3 * np.sum(weights**2) ** 2
    measured = np.mean(np.sum((moved + 0.5 / step) ** 2, axis=1)) - 2 / 12 / step**2
    assert measured == pytest.approx(expected, rel=0.2)
