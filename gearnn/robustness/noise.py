"""Noise corruptions: float32 images (N, C, H, W) in [0, 1] in and out, one random stream per image.

Parameters per severity are those of CIFAR-10-C (Hendrycks & Dietterich, ICLR 2019; hendrycks/robustness, make_cifar_c.py).
Noise levels do not depend on the image size.
"""

from __future__ import annotations

from typing import Sequence

import numpy as np

Streams = Sequence[np.random.Generator]

GAUSSIAN_DEVIATION = (0.04, 0.06, 0.08, 0.09, 0.10)
SHOT_PHOTONS = (500, 250, 100, 75, 50)
IMPULSE_AMOUNT = (0.01, 0.02, 0.03, 0.05, 0.07)


def gaussian_noise(images: np.ndarray, severity: int, streams: Streams) -> np.ndarray:
    """x + N(0, σ²)."""
    noise = np.stack([stream.standard_normal(images.shape[1:], dtype=np.float32) for stream in streams])
    return images + noise * np.float32(GAUSSIAN_DEVIATION[severity - 1])


def shot_noise(images: np.ndarray, severity: int, streams: Streams) -> np.ndarray:
    """Poisson(λ x) / λ: the fewer photons λ, the noisier."""
    photons = SHOT_PHOTONS[severity - 1]
    return np.stack([stream.poisson(image * photons) for image, stream in zip(images, streams)]).astype(np.float32) / photons


def impulse_noise(images: np.ndarray, severity: int, streams: Streams) -> np.ndarray:
    """Salt and pepper: a fraction of the values, channel by channel, becomes 0 or 1 with equal chance."""
    amount = IMPULSE_AMOUNT[severity - 1]
    draws = np.stack([stream.random(images.shape[1:], dtype=np.float32) for stream in streams])
    salted = np.where(draws < amount / 2, np.float32(1), images)
    return np.where((draws >= amount / 2) & (draws < amount), np.float32(0), salted)
