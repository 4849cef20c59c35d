"""Weather corruptions: float32 images (N, C, H, W) in [0, 1] in and out, one random stream per image.

Hendrycks & Dietterich, ICLR 2019 (hendrycks/robustness); the parameters are in `gearnn.robustness.parameters`. Lengths, given
in pixels at the side a set was published for, scale with the shorter side.
"""

from __future__ import annotations

from typing import NamedTuple, Tuple

import cv2
import numpy as np

from gearnn.robustness.blur import along_lines, each, line_kernel, smooth, zoom_matrix
from gearnn.robustness.noise import Streams
from gearnn.robustness.parameters import parameter_set, pixel_scale, reference_sides

WATER, MUD = (175, 238, 238), (63, 42, 20)  # RGB


class Ice(NamedTuple):
    """What the published photographs of frost look like at one size, as measured on patches cut out as published."""

    kinds: Tuple[Tuple[Tuple[float, float, float], float, float], ...]
    """Per photograph: colour (RGB), spread of the patches' means, contrast within a patch."""
    decay: float
    """Of the roughness, as in `plasma`."""
    grain: float
    """Share of the variance that is fine grain."""
    softness: float
    """Deviation in pixels of the blur of the grain."""


_WHITE = ((0.78, 0.79, 0.83), 0.035, 0.072)  # two of the five photographs
ICE = {
    "cifar": Ice(
        (
            ((0.31, 0.58, 0.65), 0.042, 0.057),
            _WHITE,
            _WHITE,
            ((0.56, 0.62, 0.67), 0.042, 0.103),
            ((0.41, 0.45, 0.50), 0.066, 0.135),
        ),
        decay=1.3,
        grain=0.6,
        softness=0,
    ),
    "tiny-imagenet": Ice(
        (
            ((0.30, 0.58, 0.64), 0.039, 0.057),
            ((0.78, 0.79, 0.83), 0.025, 0.073),
            ((0.78, 0.79, 0.83), 0.025, 0.073),
            ((0.57, 0.62, 0.68), 0.028, 0.093),
            ((0.40, 0.44, 0.49), 0.049, 0.129),
        ),
        decay=1.25,
        grain=0.4,
        softness=0,
    ),
    "imagenet": Ice(
        (
            ((0.30, 0.58, 0.64), 0.038, 0.062),
            ((0.78, 0.79, 0.83), 0.024, 0.079),
            ((0.78, 0.79, 0.83), 0.024, 0.079),
            ((0.57, 0.63, 0.68), 0.025, 0.104),
            ((0.39, 0.44, 0.48), 0.046, 0.140),
        ),
        decay=1.25,
        grain=0.5,
        softness=0.8,
    ),
}


def snow(
    images: np.ndarray,
    streams: Streams,
    mean: float,
    deviation: float,
    zoom: float,
    threshold: float,
    radius: float,
    spread: float,
    keep: float,
) -> np.ndarray:
    """Streaks of thresholded noise over a whitened image, twice: once upside down."""
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


def frost(images: np.ndarray, streams: Streams, weight: float, ice_weight: float) -> np.ndarray:
    """A weighted sum with ice. The published one cuts it out of photographs of frost; this ice is generated, see `ice`."""
    height, width = reference_sides(images)
    look = ICE[parameter_set(min(images.shape[2:]))]
    layer = resized(ice(streams, height, width, look), images)
    return weight * images + ice_weight * (layer if images.shape[1] == 3 else luma(layer))


def ice(streams: Streams, height: int, width: int, look: Ice) -> np.ndarray:
    """Tinted, grainy patches (N, 3, H, W) in [0, 1], with the colours and contrasts of the published photographs."""
    kinds = [look.kinds[stream.integers(len(look.kinds))] for stream in streams]
    tints = np.array([kind[0] for kind in kinds], np.float32)[:, :, None, None]
    shifts = np.array([kind[1] * stream.standard_normal() for kind, stream in zip(kinds, streams)], np.float32)
    contrasts = np.array([kind[2] for kind in kinds], np.float32)
    patches = plasma(streams, height, width, look.decay)
    patches = (patches - patches.mean(axis=(1, 2), keepdims=True)) / patches.std(axis=(1, 2), keepdims=True)
    grain = np.stack([stream.standard_normal((height, width), dtype=np.float32) for stream in streams])
    if look.softness:
        grain = smooth(grain, look.softness)
        grain /= grain.std(axis=(1, 2), keepdims=True)
    texture = (1 - look.grain) ** 0.5 * patches + look.grain**0.5 * grain
    return np.clip(tints + (texture * contrasts[:, None, None] + shifts[:, None, None])[:, None], 0, 1)


def resized(layers: np.ndarray, images: np.ndarray) -> np.ndarray:
    """Layers (N, C, h, w) at the height and width of the images."""
    height, width = images.shape[2:]
    if layers.shape[2:] == (height, width):
        return layers
    method = cv2.INTER_AREA if height < layers.shape[2] else cv2.INTER_LINEAR
    return each(layers, lambda layer, _: cv2.resize(layer, (width, height), interpolation=method))


def fog(images: np.ndarray, streams: Streams, density: float, decay: float) -> np.ndarray:
    """A plasma fractal is added, and the sum scaled back to the image's own maximum."""
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


def brightness(images: np.ndarray, streams: Streams, added: float) -> np.ndarray:
    """A constant is added to V in HSV; hue and saturation stay."""
    value = images.max(axis=1, keepdims=True)
    brighter = np.clip(value + added, 0, 1)
    return np.where(value > 0, images * brighter / np.maximum(value, 1e-8), brighter)


def spatter(
    images: np.ndarray,
    streams: Streams,
    mean: float,
    deviation: float,
    smoothness: float,
    threshold: float,
    strength: float,
    mud: float,
) -> np.ndarray:
    """Drops where smoothed noise is above a threshold: pale turquoise water is added, or brown mud covers."""
    height, width = reference_sides(images)
    noise = np.stack([stream.standard_normal((height, width), dtype=np.float32) for stream in streams])
    liquid = smooth(noise * np.float32(deviation) + np.float32(mean), smoothness)
    if mud:
        cover = smooth((liquid > threshold).astype(np.float32), strength)
        cover[cover < 0.8] = 0
    else:
        liquid[liquid < threshold] = 0
        cover = np.stack([_lit((np.clip(drops, 0, 1) * 255).astype(np.uint8)) for drops in liquid]) * np.float32(strength)
    cover = resized(cover[:, None], images)
    colour = np.array([MUD if mud else WATER], np.float32).reshape(1, 3, 1, 1) / 255
    if images.shape[1] == 1:
        colour = luma(colour)
    return images * (1 - cover) + cover * colour if mud else images + cover * colour


def _lit(drops: np.ndarray) -> np.ndarray:
    """Water uint8 (H, W) lit from one side → float32 (H, W), 1 where brightest: an emboss of the distance to the drops' edges."""
    depth = cv2.distanceTransform(255 - cv2.Canny(drops, 50, 150), cv2.DIST_L2, 5)
    depth = cv2.equalizeHist(cv2.blur(np.minimum(depth, 20), (3, 3)).astype(np.uint8))
    embossed = cv2.filter2D(depth, cv2.CV_8U, np.array([[-2, -1, 0], [-1, 1, 1], [0, 1, 2]], np.float32))
    light = drops * cv2.blur(embossed, (3, 3)).astype(np.float32)
    return np.asarray(light / max(light.max(), 1), dtype=np.float32)


def luma(images: np.ndarray) -> np.ndarray:
    """Grey values (N, 1, H, W) by Rec. 601; a grey image is its own."""
    if images.shape[1] != 3:
        return images.mean(axis=1, keepdims=True)
    weights = np.array([0.299, 0.587, 0.114], np.float32).reshape(1, 3, 1, 1)
    return (images * weights).sum(axis=1, keepdims=True)
