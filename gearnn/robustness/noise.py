"""Noise corruptions: float32 images (N, C, H, W) in [0, 1] in and out, one random stream per image.

Hendrycks & Dietterich, ICLR 2019 (hendrycks/robustness); the parameters are in `gearnn.robustness.parameters` and do not
depend on the image size within a set.
"""

from __future__ import annotations

from typing import Sequence, Tuple

import numpy as np

Streams = Sequence[np.random.Generator]


def gaussian_noise(images: np.ndarray, streams: Streams, deviation: float) -> np.ndarray:
    """x + N(0, σ²)."""
    return images + _normal(images.shape[1:], streams) * np.float32(deviation)


def shot_noise(images: np.ndarray, streams: Streams, photons: float) -> np.ndarray:
    """Poisson(λ x) / λ: the fewer photons λ, the noisier."""
    return np.stack([stream.poisson(image * photons) for image, stream in zip(images, streams)]).astype(np.float32) / photons


def impulse_noise(images: np.ndarray, streams: Streams, amount: float) -> np.ndarray:
    """Salt and pepper: a fraction of the values, channel by channel, becomes 0 or 1 with equal chance."""
    draws = np.stack([stream.random(images.shape[1:], dtype=np.float32) for stream in streams])
    salted = np.where(draws < amount / 2, np.float32(1), images)
    return np.where((draws >= amount / 2) & (draws < amount), np.float32(0), salted)


def speckle_noise(images: np.ndarray, streams: Streams, deviation: float) -> np.ndarray:
    """x + x N(0, σ²)."""
    return images + images * _normal(images.shape[1:], streams) * np.float32(deviation)


def _normal(shape: Tuple[int, ...], streams: Streams) -> np.ndarray:
    return np.stack([stream.standard_normal(shape, dtype=np.float32) for stream in streams])
