"""Weather corruptions: float32 images (N, C, H, W) in [0, 1] in and out, one random stream per image.

Parameters per severity are those of CIFAR-10-C (Hendrycks & Dietterich, ICLR 2019; hendrycks/robustness, make_cifar_c.py);
lengths, given in pixels at 32×32, scale with the shorter side.
"""

from __future__ import annotations

import cv2
import numpy as np

from gearnn.robustness.blur import each, enlarged, gaussian_blur, line_kernel, pixel_scale
from gearnn.robustness.noise import Streams

# mean, deviation, enlargement, threshold, blur radius, blur deviation, share of the image kept
SNOW = (
    (0.1, 0.2, 1.0, 0.6, 8, 3, 0.95),
    (0.1, 0.2, 1.0, 0.5, 10, 4, 0.9),
    (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
    (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
    (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
)
FROST = ((1.0, 0.2), (1.0, 0.3), (0.9, 0.4), (0.85, 0.4), (0.75, 0.45))  # weight of the image, of the ice
FOG = ((0.2, 3.0), (0.5, 3.0), (0.75, 2.5), (1.0, 2.0), (1.5, 1.75))  # density, decay of the roughness
BRIGHTNESS = (0.05, 0.1, 0.15, 0.2, 0.3)
_ICE_TINT = (0.80, 0.90, 1.0)


def snow(images: np.ndarray, severity: int, streams: Streams) -> np.ndarray:
    """Streaks of thresholded noise over a whitened image, twice: once upside down."""
    mean, deviation, zoom, threshold, radius, spread, keep = SNOW[severity - 1]
    scale = pixel_scale(images)
    height, width = images.shape[-2:]
    flakes = np.stack([stream.normal(mean, deviation, (1, height, width)) for stream in streams]).astype(np.float32)
    flakes = enlarged(flakes, zoom * max(scale, 1.0))
    flakes[flakes < threshold] = 0
    flakes = (np.floor(np.clip(flakes, 0, 1) * 255) / 255).astype(np.float32)
    kernels = [line_kernel(radius * scale, spread * scale, stream.uniform(-135, -45)) for stream in streams]
    flakes = each(flakes, lambda image, i: cv2.filter2D(image, -1, kernels[i], borderType=cv2.BORDER_REPLICATE))
    whitened = keep * images + (1 - keep) * np.maximum(images, luma(images) * 1.5 + 0.5)
    return whitened + flakes + flakes[:, :, ::-1, ::-1]


def frost(images: np.ndarray, severity: int, streams: Streams) -> np.ndarray:
    """A weighted sum with ice. The published one uses photographs of frost; this ice is generated, see `_ice`."""
    weight, ice_weight = FROST[severity - 1]
    tint = np.array(_ICE_TINT if images.shape[1] == 3 else (sum(_ICE_TINT) / 3,), np.float32).reshape(1, -1, 1, 1)
    return weight * images + ice_weight * tint * _ice(images, streams)


def _ice(images: np.ndarray, streams: Streams) -> np.ndarray:
    """Crystal-like ridges (N, 1, H, W) in [0, 1]: creases of two fractals, sharpened along a random direction, on a haze."""
    height, width = images.shape[-2:]
    scale = pixel_scale(images)
    creases = [1 - np.abs(2 * plasma(streams, height, width, decay) - 1) for decay in (1.6, 2.2)]
    ridges = np.maximum(*creases)[:, None] ** 4
    kernels = [line_kernel(4 * scale, 1.5 * scale, stream.uniform(0, 360)) for stream in streams]
    streaks = each(
        ridges.astype(np.float32), lambda image, i: cv2.filter2D(image, -1, kernels[i], borderType=cv2.BORDER_REFLECT_101)
    )
    haze = gaussian_blur(plasma(streams, height, width, 3.0)[:, None], scale)
    return np.clip(0.35 * haze + 0.75 * streaks, 0, 1).astype(np.float32)


def fog(images: np.ndarray, severity: int, streams: Streams) -> np.ndarray:
    """A plasma fractal is added, and the sum scaled back to the image's own maximum."""
    density, decay = FOG[severity - 1]
    highest = images.max(axis=(1, 2, 3), keepdims=True)
    height, width = images.shape[-2:]
    mist = plasma(streams, height, width, decay)[:, None].astype(np.float32)
    return (images + density * mist) * highest / (highest + density)


def plasma(streams: Streams, height: int, width: int, decay: float) -> np.ndarray:
    """Diamond-square fractals (N, H, W) in [0, 1]; each halving of the step divides the displacements by ``decay``².

    Fournier, Fussell & Carpenter (1982), on a torus whose side is a power of two, cut to size.
    """
    side = 1 << (max(height, width, 2) - 1).bit_length()
    grid = np.zeros((len(streams), side, side))
    step, wobble = side, 100.0
    while step >= 2:
        half = step // 2
        corners = grid[:, ::step, ::step]
        squares = corners + np.roll(corners, -1, 1)
        squares = squares + np.roll(squares, -1, 2)
        grid[:, half::step, half::step] = squares / 4 + _wobbles(streams, squares.shape, wobble)
        centres = grid[:, half::step, half::step]
        above_below = centres + np.roll(centres, 1, 1) + corners + np.roll(corners, -1, 2)
        left_right = centres + np.roll(centres, 1, 2) + corners + np.roll(corners, -1, 1)
        grid[:, ::step, half::step] = above_below / 4 + _wobbles(streams, squares.shape, wobble)
        grid[:, half::step, ::step] = left_right / 4 + _wobbles(streams, squares.shape, wobble)
        step, wobble = half, wobble / decay
    grid -= grid.min(axis=(1, 2), keepdims=True)
    return (grid / grid.max(axis=(1, 2), keepdims=True))[:, :height, :width]


def _wobbles(streams: Streams, shape: tuple, wobble: float) -> np.ndarray:
    return np.stack([stream.uniform(-wobble, wobble, shape[1:]) for stream in streams]) * wobble / 100.0


def brightness(images: np.ndarray, severity: int, streams: Streams) -> np.ndarray:
    """A constant is added to V in HSV; hue and saturation stay."""
    value = images.max(axis=1, keepdims=True)
    brighter = np.clip(value + BRIGHTNESS[severity - 1], 0, 1)
    return np.where(value > 0, images * brighter / np.maximum(value, 1e-8), brighter)


def luma(images: np.ndarray) -> np.ndarray:
    """Grey values (N, 1, H, W) by Rec. 601; a grey image is its own."""
    if images.shape[1] != 3:
        return images.mean(axis=1, keepdims=True)
    weights = np.array([0.299, 0.587, 0.114], np.float32).reshape(1, 3, 1, 1)
    return (images * weights).sum(axis=1, keepdims=True)
