"""Weather: textures with the right statistics, at any size."""

from __future__ import annotations

from typing import List

import cv2
import numpy as np
import pytest
from scipy import ndimage

from gearnn.robustness import SEVERITIES, corrupt
from gearnn.robustness.weather import ICE, ice, plasma

SNOW = (
    (0.1, 0.2, 1.0, 0.6, 8, 3, 0.95),
    (0.1, 0.2, 1.0, 0.5, 10, 4, 0.9),
    (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
    (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
    (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
)
FROST = ((1, 0.2), (1, 0.3), (0.9, 0.4), (0.85, 0.4), (0.75, 0.45))
LUMA = np.array([0.299, 0.587, 0.114]).reshape(1, 3, 1, 1)
FOG = ((0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75))


def _streams(count: int) -> List[np.random.Generator]:
    return [np.random.default_rng(seed) for seed in range(count)]


# Measured on the photographs, cut out as published: contrast, then correlation between neighbours and at eight pixels.
PHOTOGRAPHS = {
    "cifar": (32, 600, 0.09, 0.34, 0.11),
    "tiny-imagenet": (64, 300, 0.09, 0.58, 0.30),
    "imagenet": (224, 40, 0.10, 0.78, 0.38),
}


@pytest.mark.parametrize("name", PHOTOGRAPHS)
def test_ice_has_the_colours_and_contrast_of_the_photographs(name: str) -> None:
    side, count, contrast, near, far = PHOTOGRAPHS[name]
    layers = ice(_streams(count), side, side, ICE[name])
    assert layers.shape == (count, 3, side, side)
    assert layers.min() >= 0 and layers.max() <= 1
    colour = np.mean([kind[0] for kind in ICE[name].kinds], axis=0)
    np.testing.assert_allclose(colour, [0.565, 0.647, 0.694], atol=0.005)  # the same at every reduction
    np.testing.assert_allclose(layers.mean(axis=(0, 2, 3), dtype=float), colour, atol=0.7 / count**0.5)
    grey = layers.mean(axis=1)
    inside = grey - grey.mean(axis=(1, 2), keepdims=True)
    assert inside.std() == pytest.approx(contrast, abs=0.015)
    correlations = [(inside[..., :-lag] * inside[..., lag:]).mean() / inside.var() for lag in (1, 8)]
    np.testing.assert_allclose(correlations, [near, far], atol=0.1)


@pytest.mark.parametrize(
    ("side", "severity", "weight", "ice_weight"),
    [(32, severity, *weights) for severity, weights in zip(SEVERITIES, FROST)] + [(64, 5, 0.7, 0.55)],
)
def test_frost_brightens_dark_images_as_published(side: int, severity: int, weight: float, ice_weight: float) -> None:
    dark = np.random.default_rng(0).integers(0, 40, (300, 3, side, side), dtype=np.uint8)
    kinds = ICE["cifar" if side == 32 else "tiny-imagenet"].kinds
    changed = corrupt(dark, "frost", severity) / 255
    expected = weight * dark.mean() / 255 + ice_weight * np.mean([kind[0] for kind in kinds])
    assert changed.mean() == pytest.approx(expected, abs=0.012)
    # Mean squares: of the image, of the ice (colour, spread and contrast), of rounding down, and of image times ice.
    squares = np.mean([np.mean(np.square(colour)) + spread**2 + contrast**2 for colour, spread, contrast in kinds])
    squares = (weight - 1) ** 2 * np.mean((dark / 255) ** 2) + ice_weight**2 * squares
    squares += 2 * (weight - 1) * ice_weight * dark.mean() / 255 * np.mean([kind[0] for kind in kinds])
    psnr = -10 * np.log10(np.mean((changed - dark / 255) ** 2))
    assert psnr == pytest.approx(-10 * np.log10(squares), abs=0.35)


def _streaks(
    count: int, side: int, mean: float, deviation: float, zoom: float, threshold: float, radius: int, spread: float
) -> np.ndarray:
    """The published snow, both layers, (count, side, side): noise by SciPy's zoom, then ImageMagick's motion blur."""
    rng = np.random.default_rng(0)
    kept, reach = int(np.ceil(side / zoom)), 2 * radius + 1
    weights = np.exp(-0.5 * (np.arange(reach) / spread) ** 2)
    weights /= weights.sum()
    layers = []
    for _ in range(count):
        layer = ndimage.zoom(rng.normal(mean, deviation, (kept, kept)), zoom, order=1)
        trim = (len(layer) - side) // 2
        layer = layer[trim : trim + side, trim : trim + side]
        flakes = np.pad(np.where(layer < threshold, 0, np.floor(np.clip(layer, 0, 1) * 255) / 255), reach, mode="edge")
        angle = np.radians(rng.uniform(-135, -45))
        blurred = np.zeros((side, side))
        for step, weight in enumerate(weights):
            down, right = (reach + int(np.ceil(step * length - 0.5)) for length in (np.sin(angle), np.cos(angle)))
            blurred += weight * flakes[down : down + side, right : right + side]
        layers.append(blurred + blurred[::-1, ::-1])
    return np.stack(layers)


@pytest.mark.parametrize(
    ("side", "severity", "parameters"),
    [(32, severity, parameters) for severity, parameters in zip(SEVERITIES, SNOW)]
    + [(64, 3, (0.15, 0.3, 1.75, 0.55, 10, 4, 0.7)), (224, 1, (0.1, 0.3, 3, 0.5, 10, 4, 0.8))],
)
def test_snow_whitens_and_falls_as_published(side: int, severity: int, parameters: tuple) -> None:
    *fall, keep = parameters
    count = 300 if side < 224 else 8
    dark = np.random.default_rng(0).integers(10, 50, (count, 3, side, side), dtype=np.uint8)
    whitened = keep * dark + (1 - keep) * np.maximum(dark, 1.5 * (dark * LUMA).sum(axis=1, keepdims=True) + 127.5)
    expected = 255 * _streaks(count // 2, side, *fall)
    streaks = corrupt(dark, "snow", severity) - whitened
    assert streaks.mean() == pytest.approx(expected.mean() - 0.5, rel=0.06)
    assert streaks.std() == pytest.approx(expected.std(), rel=0.08)


@pytest.mark.parametrize("name", ["snow", "frost", "spatter"])
@pytest.mark.parametrize(("published", "side"), [(32, 16), (32, 48), (64, 96)])
def test_as_much_weather_at_other_sizes(name: str, published: int, side: int) -> None:
    dark = np.random.default_rng(0).integers(20, 60, (200, 3, 8, 8), dtype=np.uint8)
    change = {}
    for size in (published, side):
        images = np.stack([cv2.resize(image.transpose(1, 2, 0), (size, size)) for image in dark]).transpose(0, 3, 1, 2)
        change[size] = corrupt(np.ascontiguousarray(images), name, 3).mean() - images.mean()
    assert change[side] == pytest.approx(change[published], rel=0.15)


def test_grey_images_get_grey_weather(photos: np.ndarray) -> None:
    grey = np.ascontiguousarray(photos[:, :1])
    for name in ("snow", "fog", "brightness"):
        colour = corrupt(np.repeat(grey, 3, axis=1), name, 3)
        for channel in range(3):
            assert np.abs(colour[:, channel].astype(int) - corrupt(grey, name, 3)[:, 0]).max() <= 1
    assert corrupt(grey, "frost", 3).shape == grey.shape
    for severity in (3, 5):  # halved, so that no channel of the coloured drops is cut off
        colour = corrupt(np.repeat(grey // 2, 3, axis=1), "spatter", severity)
        assert np.abs((colour * LUMA).sum(axis=1) - corrupt(grey // 2, "spatter", severity)[:, 0]).max() <= 1.01


def test_plasma_is_rougher_with_less_decay() -> None:
    def roughness(decay: float) -> float:
        maps = plasma(_streams(50), 32, 32, decay)
        return float(np.abs(np.diff(maps, axis=2)).mean() / maps.std())

    assert roughness(1.3) > roughness(1.75) > roughness(3.0)
    maps = plasma(_streams(5), 20, 32, 2.0)
    assert maps.shape == (5, 20, 32)
    assert maps.min() >= 0 and maps.max() <= 1


def test_fog_is_the_published_blend() -> None:
    """The mist is recovered from two images that share it: x + density · mist, scaled by max / (max + density)."""
    first, second = (np.full((1, 3, 32, 32), level, np.uint8) for level in (100, 200))
    for severity, density in ((2, 0.5), (5, 1.5)):
        mists = []
        for images in (first, second):
            level = images.max() / 255
            mists.append((corrupt(images, "fog", severity) / 255 * (level + density) / level - level) / density)
        np.testing.assert_allclose(mists[0], mists[1], atol=0.08)
        assert mists[1].max() > 0.9 and mists[1].min() < 0.05


def _diamond_square(side: int, decay: float, rng: np.random.Generator) -> np.ndarray:
    """Plasma point by point: each new point is the mean of four neighbours on a torus plus a displacement w · U(−w, w)."""
    grid = np.zeros((side, side))
    step, wobble = side, 100.0
    while step >= 2:
        half = step // 2
        squares = [
            (y, x, (-half, -half, half, half), (-half, half, -half, half))
            for y in range(half, side, step)
            for x in range(half, side, step)
        ]
        diamonds = [
            (y, x, (-half, half, 0, 0), (0, 0, -half, half))
            for y in range(0, side, half)
            for x in range((y + half) % step, side, step)
        ]
        for y, x, down, right in squares + diamonds:
            neighbours = [grid[(y + dy) % side, (x + dx) % side] for dy, dx in zip(down, right)]
            grid[y, x] = sum(neighbours) / 4 + wobble * rng.uniform(-wobble, wobble)
        step, wobble = half, wobble / decay
    grid -= grid.min()
    return grid / grid.max()


@pytest.mark.parametrize(("severity", "density", "decay"), [(severity, *fog) for severity, fog in zip(SEVERITIES, FOG)])
def test_fog_as_published(severity: int, density: float, decay: float) -> None:
    rng = np.random.default_rng(0)
    mists = np.stack([_diamond_square(32, decay, rng) for _ in range(60)])
    own = plasma(_streams(400), 32, 32, decay)
    assert own.mean() == pytest.approx(0.5, abs=0.03)  # up and down are alike
    assert own.std(axis=(1, 2)).mean() == pytest.approx(mists.std(axis=(1, 2)).mean(), rel=0.12)
    assert np.abs(np.diff(own)).mean() == pytest.approx(np.abs(np.diff(mists)).mean(), rel=0.1)
    images = rng.integers(40, 201, (400, 3, 32, 32), dtype=np.uint8)
    images[:, 0, 0, 0] = 200
    shrink = (200 / 255) / (200 / 255 + density)
    levels = images / 255
    change = corrupt(images, "fog", severity) / 255 - levels
    assert change.mean() == pytest.approx(
        (levels.mean() + density / 2) * shrink - levels.mean() - 0.5 / 255, abs=0.03 * density * shrink
    )
    slope = np.cov(levels.ravel(), change.ravel())[0, 1] / levels.var()
    assert slope == pytest.approx(shrink - 1, abs=0.004)
    rest = change - slope * levels
    roughness = np.abs(np.diff(rest.mean(axis=1))).mean() / (shrink * density)
    assert roughness == pytest.approx(np.abs(np.diff(mists)).mean(), rel=0.12)
    # (shrink − 1) x + shrink · density · mist: mean squares of both and their product
    squares = (1 - shrink) ** 2 * np.mean(levels**2) + (shrink * density) ** 2 * np.mean(own**2)
    squares -= (1 - shrink) * shrink * density * levels.mean()
    assert -10 * np.log10(np.mean(change**2)) == pytest.approx(-10 * np.log10(squares), abs=0.35)


def test_fog_at_other_sizes() -> None:
    for side, density, severity in ((64, 0.4, 1), (224, 1.5, 1)):
        images = np.random.default_rng(0).integers(40, 201, (30 if side == 64 else 12, 3, side, side), dtype=np.uint8)
        shrink = (200 / 255) / (200 / 255 + density)
        spread = corrupt(images, "fog", severity).astype(float) - shrink * images
        assert spread.min() >= -1.01
        assert spread.max() <= 255 * shrink * density + 0.01
        assert spread.mean() == pytest.approx(255 * shrink * density / 2, rel=0.3)


def _drops(count: int, side: int, mean: float, deviation: float, smoothness: float, threshold: float) -> np.ndarray:
    """Where smoothed noise is above the threshold, as published, bool (count, side, side)."""
    noise = np.random.default_rng(0).normal(mean, deviation, (count, side, side))
    return ndimage.gaussian_filter(noise, (0, smoothness, smoothness), mode="nearest", truncate=4) > threshold


@pytest.mark.parametrize(
    ("side", "severity", "drops", "strength", "wet", "mean"),
    [
        (32, 1, (0.62, 0.1, 0.7, 0.7), 0.5, 0.0256, 48.8),
        (32, 2, (0.65, 0.1, 0.8, 0.7), 0.5, 0.0661, 50.2),
        (32, 3, (0.65, 0.3, 1, 0.69), 0.5, 0.1852, 43.7),
        (64, 2, (0.65, 0.1, 0.8, 0.7), 0.6, 0.0649, 56.0),
        (224, 3, (0.65, 0.3, 2, 0.68), 0.5, 0.2081, 42.1),
    ],
)
def test_spatters_of_water(side: int, severity: int, drops: tuple, strength: float, wet: float, mean: float) -> None:
    """Pale turquoise, at its brightest ``strength`` times the colour, in the drops and nowhere else.

    How light falls on drops has no closed form: ``wet``, the share of pixels at least 4 levels greener, and ``mean``, by how
    much on average, are what the published program gave on such images.
    """
    count = 200 if side < 224 else 6
    images = np.random.default_rng(0).integers(10, 50, (count, 3, side, side), dtype=np.uint8)
    added = corrupt(images, "spatter", severity).astype(float) - images
    brightest = added.max(axis=(2, 3)).mean(axis=0)
    np.testing.assert_allclose(brightest, strength * np.array([175, 238, 238]) - 0.5, atol=1.6)
    assert added.min() >= 0
    lit = added[:, 1] >= 4
    assert lit.mean() == pytest.approx(wet, rel=0.06)
    assert added[:, 1][lit].mean() == pytest.approx(mean, rel=0.06)
    assert lit.mean() < np.mean(_drops(count, side, *drops))
    assert np.cov(added[:, 0].ravel(), added[:, 1].ravel())[0, 1] / added[:, 1].var() == pytest.approx(175 / 238, rel=0.02)


@pytest.mark.parametrize(
    ("side", "severity", "drops", "smoothness"),
    [
        (32, 4, (0.65, 0.1, 0.7, 0.69), 0.6),
        (32, 5, (0.65, 0.1, 0.5, 0.68), 0.6),
        (64, 5, (0.65, 0.1, 0.5, 0.67), 0.6),
        (224, 5, (0.67, 0.4, 1, 0.65), 1.5),
    ],
)
def test_spatters_of_mud(side: int, severity: int, drops: tuple, smoothness: float) -> None:
    """Brown where the smoothed drops reach 0.8, in proportion; elsewhere nothing changes."""
    count = 150 if side < 224 else 4
    images = np.random.default_rng(0).integers(150, 250, (count, 3, side, side), dtype=np.uint8)
    cover = ndimage.gaussian_filter(_drops(count, side, *drops).astype(float), (0, smoothness, smoothness), mode="nearest")
    cover[cover < 0.8] = 0
    changed = corrupt(images, "spatter", severity).astype(float)
    touched = np.any(changed != images, axis=1)
    assert touched.mean() == pytest.approx(np.mean(cover > 0), rel=0.1)
    mud = np.array([63, 42, 20])
    expected = cover.mean() * (mud - images.mean(axis=(0, 2, 3)))
    np.testing.assert_allclose((changed - images).mean(axis=(0, 2, 3)), expected, rtol=0.1)
    squares = np.mean(cover**2) * np.mean((mud.reshape(1, 3, 1, 1) - images.astype(float)) ** 2)
    assert np.mean((changed - images) ** 2) == pytest.approx(squares, rel=0.1)
