"""Weather: textures with the right statistics, at any size."""

from __future__ import annotations

from typing import List

import cv2
import numpy as np
import pytest

from gearnn.robustness import corrupt
from gearnn.robustness.weather import ICE, ice, plasma


def _streams(count: int) -> List[np.random.Generator]:
    return [np.random.default_rng(seed) for seed in range(count)]


def test_ice_has_the_colours_and_contrast_of_the_photographs() -> None:
    layers = ice(_streams(1500), 32, 32)
    assert layers.shape == (1500, 3, 32, 32)
    assert layers.min() >= 0 and layers.max() <= 1
    np.testing.assert_allclose(layers.mean(axis=(0, 2, 3)), np.mean([kind[0] for kind in ICE], axis=0), atol=0.02)
    grey = layers.mean(axis=1)
    inside = grey - grey.mean(axis=(1, 2), keepdims=True)
    assert inside.std() == pytest.approx(0.09, abs=0.01)
    # Measured on the photographs, reduced as published: 0.34 between neighbours, 0.11 at eight pixels.
    correlations = [(inside[..., :-lag] * inside[..., lag:]).mean() / inside.var() for lag in (1, 8)]
    np.testing.assert_allclose(correlations, [0.34, 0.11], atol=0.06)


def test_frost_brightens_dark_images_as_published() -> None:
    dark = np.random.default_rng(0).integers(0, 40, (300, 3, 32, 32), dtype=np.uint8)
    for severity, (weight, ice_weight) in enumerate([(1, 0.2), (1, 0.3), (0.9, 0.4), (0.85, 0.4), (0.75, 0.45)], start=1):
        expected = weight * dark.mean() / 255 + ice_weight * np.mean([kind[0] for kind in ICE])
        assert corrupt(dark, "frost", severity).mean() / 255 == pytest.approx(expected, abs=0.012)


@pytest.mark.parametrize("name", ["snow", "frost"])
@pytest.mark.parametrize("side", [16, 64])
def test_as_much_snow_and_frost_at_other_sizes(name: str, side: int) -> None:
    dark = np.random.default_rng(0).integers(20, 60, (200, 3, 8, 8), dtype=np.uint8)
    change = {}
    for size in (32, side):
        images = np.stack([cv2.resize(image.transpose(1, 2, 0), (size, size)) for image in dark]).transpose(0, 3, 1, 2)
        change[size] = corrupt(np.ascontiguousarray(images), name, 4).mean() - images.mean()
    assert change[side] == pytest.approx(change[32], rel=0.15)


def test_grey_images_get_grey_weather(photos: np.ndarray) -> None:
    grey = np.ascontiguousarray(photos[:, :1])
    for name in ("snow", "fog", "brightness"):
        colour = corrupt(np.repeat(grey, 3, axis=1), name, 3)
        for channel in range(3):
            assert np.abs(colour[:, channel].astype(int) - corrupt(grey, name, 3)[:, 0]).max() <= 1
    assert corrupt(grey, "frost", 3).shape == grey.shape


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
