"""Noise: the error and the mean shift that the published formulas give, at every severity."""

from __future__ import annotations

import numpy as np
import pytest

from gearnn.robustness import SEVERITIES, corrupt

GAUSSIAN = (0.04, 0.06, 0.08, 0.09, 0.10)
PHOTONS = (500, 250, 100, 75, 50)
IMPULSE = (0.01, 0.02, 0.03, 0.05, 0.07)
SPECKLE = (0.06, 0.1, 0.12, 0.16, 0.2)
TRUNCATION = 1 / 3  # mean square in levels² of what rounding down takes off; its mean is half a level


def _texture(side: int, count: int) -> np.ndarray:
    """Waves between levels 96 and 160, uint8 (count, 3, side, side): noise stays off both ends."""
    y, x = np.mgrid[0:side, 0:side]
    waves = [np.sin(x / (2 + i % 5) + y / (3 + i % 7) + i) for i in range(3 * count)]
    return np.round(128 + 32 * np.array(waves)).reshape(count, 3, side, side).astype(np.uint8)


def _psnr(squared_levels: float) -> float:
    return float(10 * np.log10(255**2 / squared_levels))


def _error(images: np.ndarray, name: str, severity: int) -> np.ndarray:
    return corrupt(images, name, severity).astype(float) - images


@pytest.mark.parametrize(
    ("side", "severity", "deviation"), [(32, *level) for level in zip(SEVERITIES, GAUSSIAN)] + [(64, 3, 0.12), (224, 1, 0.08)]
)
def test_gaussian_noise(side: int, severity: int, deviation: float) -> None:
    error = _error(_texture(side, 24 if side < 224 else 2), "gaussian_noise", severity)
    assert _psnr(np.mean(error**2)) == pytest.approx(_psnr((255 * deviation) ** 2 + TRUNCATION), abs=0.08)
    assert error.mean() == pytest.approx(-0.5, abs=4 * 255 * deviation / error.size**0.5)


@pytest.mark.parametrize(
    ("side", "severity", "photons"), [(32, *level) for level in zip(SEVERITIES, PHOTONS)] + [(64, 2, 100), (224, 1, 60)]
)
def test_shot_noise(side: int, severity: int, photons: float) -> None:
    images = _texture(side, 24 if side < 224 else 2)
    error = _error(images, "shot_noise", severity)
    variance = 255 * images.mean() / photons
    assert _psnr(np.mean(error**2)) == pytest.approx(_psnr(variance + TRUNCATION), abs=0.08)
    assert error.mean() == pytest.approx(-0.5, abs=0.1 + 4 * (variance / error.size) ** 0.5)
    bright, dark = images > 144, images < 112
    ratio = images[bright].mean() / images[dark].mean()
    assert error[bright].var() / error[dark].var() == pytest.approx(ratio, rel=0.06)


@pytest.mark.parametrize(
    ("side", "severity", "amount"), [(32, *level) for level in zip(SEVERITIES, IMPULSE)] + [(64, 5, 0.14), (224, 5, 0.27)]
)
def test_impulse_noise(side: int, severity: int, amount: float) -> None:
    images = _texture(side, 96 if side < 224 else 3)
    changed = corrupt(images, "impulse_noise", severity)
    expected = amount / 2 * (np.mean(images.astype(float) ** 2) + np.mean((255.0 - images) ** 2))
    assert _psnr(np.mean((changed.astype(float) - images) ** 2)) == pytest.approx(_psnr(expected), abs=0.25)
    for level in (0, 255):
        assert np.mean(changed == level) == pytest.approx(amount / 2, rel=0.1)
    assert np.array_equal(changed[(changed > 0) & (changed < 255)], images[(changed > 0) & (changed < 255)])


@pytest.mark.parametrize(
    ("side", "severity", "deviation"), [(32, *level) for level in zip(SEVERITIES, SPECKLE)] + [(64, 2, 0.2), (224, 1, 0.15)]
)
def test_speckle_noise(side: int, severity: int, deviation: float) -> None:
    images = _texture(side, 24 if side < 224 else 2)
    error = _error(images, "speckle_noise", severity)
    variance = deviation**2 * np.mean(images.astype(float) ** 2)
    assert _psnr(np.mean(error**2)) == pytest.approx(_psnr(variance + TRUNCATION), abs=0.08)
    assert error.mean() == pytest.approx(-0.5, abs=4 * (variance / error.size) ** 0.5)
    bright, dark = images > 144, images < 112
    ratio = np.mean(images[bright].astype(float) ** 2) / np.mean(images[dark].astype(float) ** 2)
    assert error[bright].var() / error[dark].var() == pytest.approx(ratio, rel=0.06)
