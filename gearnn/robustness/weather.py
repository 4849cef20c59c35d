"""Weather corruptions: float32 images (N, C, H, W) in [0, 1] in and out, one random stream per image.

Parameters per severity are those of CIFAR-10-C (Hendrycks & Dietterich, ICLR 2019; hendrycks/robustness, make_cifar_c.py);
lengths, given in pixels at 32×32, scale with the shorter side.
"""

from __future__ import annotations

from typing import Tuple

import cv2
import numpy as np

from gearnn.robustness.blur import along_lines, each, line_kernel, pixel_scale, zoom_matrix
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
# Colour, spread of the patches' means and contrast within a patch of each of the five photographs of frost, as measured on
# 32×32 patches at the published reduction. Two of the five are equally white.
ICE = (
    ((0.31, 0.58, 0.65), 0.042, 0.057),
    ((0.78, 0.79, 0.83), 0.035, 0.072),
    ((0.78, 0.79, 0.83), 0.035, 0.072),
    ((0.56, 0.62, 0.67), 0.042, 0.103),
    ((0.41, 0.45, 0.50), 0.066, 0.135),
)
ICE_DECAY, ICE_GRAIN = 1.3, 0.6  # of the patches; share of the variance that is fine grain


def snow(images: np.ndarray, severity: int, streams: Streams) -> np.ndarray:
    """Streaks of thresholded noise over a whitened image, twice: once upside down."""
    mean, deviation, zoom, threshold, radius, spread, keep = SNOW[severity - 1]
    scale = pixel_scale(images)
    height, width = reference_sides(images)
    flakes = np.stack([stream.standard_normal((height, width), dtype=np.float32) for stream in streams]) * deviation + mean
    flakes = zoom_matrix(height, zoom) @ flakes @ zoom_matrix(width, zoom).T
    flakes[flakes < threshold] = 0
    flakes = (np.floor(np.clip(flakes, 0, 1) * 255) / 255).astype(np.float32)
    kernels = [line_kernel(radius * scale, spread * scale, stream.uniform(-135, -45)) for stream in streams]
    streaks = along_lines(resized(flakes[:, None], images), kernels)
    whitened = keep * images + (1 - keep) * np.maximum(images, luma(images) * 1.5 + 0.5)
    return whitened + streaks + streaks[:, :, ::-1, ::-1]


def frost(images: np.ndarray, severity: int, streams: Streams) -> np.ndarray:
    """A weighted sum with ice. The published one cuts it out of photographs of frost; this ice is generated, see `ice`."""
    weight, ice_weight = FROST[severity - 1]
    height, width = reference_sides(images)
    layer = resized(ice(streams, height, width), images)
    return weight * images + ice_weight * (layer if images.shape[1] == 3 else luma(layer))


def ice(streams: Streams, height: int, width: int) -> np.ndarray:
    """Tinted, grainy patches (N, 3, H, W) in [0, 1], with the colours and contrasts of the published photographs."""
    kinds = [ICE[stream.integers(len(ICE))] for stream in streams]
    tints = np.array([kind[0] for kind in kinds], np.float32)[:, :, None, None]
    shifts = np.array([kind[1] * stream.standard_normal() for kind, stream in zip(kinds, streams)], np.float32)
    contrasts = np.array([kind[2] for kind in kinds], np.float32)
    patches = plasma(streams, height, width, ICE_DECAY)
    patches = (patches - patches.mean(axis=(1, 2), keepdims=True)) / patches.std(axis=(1, 2), keepdims=True)
    grain = np.stack([stream.standard_normal((height, width), dtype=np.float32) for stream in streams])
    texture = (1 - ICE_GRAIN) ** 0.5 * patches + ICE_GRAIN**0.5 * grain
    return np.clip(tints + (texture * contrasts[:, None, None] + shifts[:, None, None])[:, None], 0, 1)


def reference_sides(images: np.ndarray) -> Tuple[int, int]:
    """(height, width) of the images made smaller or larger until their shorter side is 32."""
    scale = pixel_scale(images)
    return round(images.shape[2] / scale), round(images.shape[3] / scale)


def resized(layers: np.ndarray, images: np.ndarray) -> np.ndarray:
    """Layers (N, C, h, w) at the height and width of the images."""
    height, width = images.shape[2:]
    if layers.shape[2:] == (height, width):
        return layers
    method = cv2.INTER_AREA if height < layers.shape[2] else cv2.INTER_LINEAR
    return each(layers, lambda layer, _: cv2.resize(layer, (width, height), interpolation=method))


def fog(images: np.ndarray, severity: int, streams: Streams) -> np.ndarray:
    """A plasma fractal is added, and the sum scaled back to the image's own maximum."""
    density, decay = FOG[severity - 1]
    highest = images.max(axis=(1, 2, 3), keepdims=True)
    height, width = images.shape[-2:]
    mist = plasma(streams, height, width, decay)[:, None]
    return (images + density * mist) * highest / (highest + density)


def plasma(streams: Streams, height: int, width: int, decay: float) -> np.ndarray:
    """Diamond-square fractals float32 (N, H, W) in [0, 1]: random displacements shrink by ``decay``² as the step is halved.

    Fournier, Fussell & Carpenter (1982), on a torus whose side is a power of two, cut to size.
    """
    side = 1 << (max(height, width, 2) - 1).bit_length()
    draws = np.stack([stream.random(side * side, dtype=np.float32) for stream in streams]) * 2 - 1
    grid = np.zeros((len(streams), side, side), np.float32)
    step, amplitude, used = side, 1.0, 0
    while step >= 2:
        half = step // 2
        count = (side // step) ** 2
        shape = (len(streams), side // step, side // step)
        wobbles = [draws[:, used + i * count : used + (i + 1) * count].reshape(shape) * amplitude for i in range(3)]
        corners = grid[:, ::step, ::step]
        squares = corners + np.roll(corners, -1, 1)
        centres = (squares + np.roll(squares, -1, 2)) / 4 + wobbles[0]
        across = centres + np.roll(centres, 1, 1) + corners + np.roll(corners, -1, 2)
        down = centres + np.roll(centres, 1, 2) + corners + np.roll(corners, -1, 1)
        grid[:, half::step, half::step] = centres
        grid[:, ::step, half::step] = across / 4 + wobbles[1]
        grid[:, half::step, ::step] = down / 4 + wobbles[2]
        step, amplitude, used = half, amplitude / decay**2, used + 3 * count
    grid -= grid.min(axis=(1, 2), keepdims=True)
    return (grid / grid.max(axis=(1, 2), keepdims=True))[:, :height, :width]


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
