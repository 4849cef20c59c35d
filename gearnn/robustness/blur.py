"""Blur corruptions: float32 images (N, C, H, W) in [0, 1] in and out, one random stream per image.

Hendrycks & Dietterich, ICLR 2019 (hendrycks/robustness); the parameters are in `gearnn.robustness.parameters`. Lengths, given
in pixels at the side a set was published for, scale with the shorter side.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any, Callable, Sequence, Tuple

import cv2
import numpy as np
from scipy import ndimage, sparse

from gearnn.robustness.noise import Streams
from gearnn.robustness.parameters import pixel_scale


def each(images: np.ndarray, change: Callable[[np.ndarray, int], np.ndarray]) -> np.ndarray:
    """Apply ``change(image (H, W, C), position)`` to every image of (N, C, H, W): OpenCV's layout and back."""
    changed = [change(np.ascontiguousarray(image.transpose(1, 2, 0)), position) for position, image in enumerate(images)]
    stacked = np.stack(changed).reshape(len(images), *changed[0].shape[:2], images.shape[1])
    return np.ascontiguousarray(stacked.transpose(0, 3, 1, 2))


def smooth(images: np.ndarray, deviation: float) -> np.ndarray:
    """Gaussian blur over the last two axes, four deviations wide, edges repeated."""
    if deviation <= 0:
        return images
    return ndimage.gaussian_filter(images, (0,) * (images.ndim - 2) + (deviation, deviation), mode="nearest", truncate=4.0)


def gaussian_blur(images: np.ndarray, streams: Streams, deviation: float) -> np.ndarray:
    """Convolution with a Gaussian."""
    return smooth(images, deviation * pixel_scale(images))


def defocus_blur(images: np.ndarray, streams: Streams, radius: float, smoothing: float) -> np.ndarray:
    """Convolution with a disk whose edge is smoothed."""
    kernel = disk_kernel(radius, smoothing, pixel_scale(images))
    return each(images, lambda image, _: cv2.filter2D(image, -1, kernel))


def disk_kernel(radius: float, smoothing: float, scale: float) -> np.ndarray:
    """A smoothed disk with the published lengths, for images ``scale`` times as large as those they were published for.

    The published kernel counts whole pixels and would vanish in smaller images. So the kernel is made for the next whole
    scale, and the weight of each of its points is then shared between the pixels around that point's place.
    """
    whole = max(1, math.ceil(scale))
    # As published, the grid ends 8 pixels from the centre, or at the rim of a larger disk.
    reach = min(math.ceil(radius * whole) + whole + 1, max(8, math.ceil(radius)) * whole)
    width = (2 if radius <= 8 else 4) * whole + 1
    offsets = np.arange(-reach, reach + 1)
    disk = (offsets[:, None] ** 2 + offsets**2 <= (radius * whole) ** 2).astype(np.float32)
    kernel = cv2.GaussianBlur(disk / disk.sum(), ksize=(width, width), sigmaX=smoothing * whole)
    share = np.maximum(0, 1 - np.abs(offsets[:, None] - offsets * scale / whole))
    return np.asarray(share @ kernel @ share.T, dtype=np.float32)


def glass_blur(images: np.ndarray, streams: Streams, deviation: float, shift: float, passes: float) -> np.ndarray:
    """Pixels take the place of a near neighbour's, one after the other, between two blurs.

    As published, the exchange overwrites: the neighbour's value is copied, it does not receive the pixel's own.
    """
    scale = pixel_scale(images)
    reach = max(1, round(shift * scale))
    blurred = (smooth(images, deviation * scale) * 255 + 1e-3).astype(np.uint8)
    pixels = np.ascontiguousarray(blurred.transpose(2, 3, 0, 1))
    for _ in range(int(passes)):
        _copy_neighbours(pixels, reach, streams)
    return smooth(pixels.transpose(2, 3, 0, 1).astype(np.float32) / 255, deviation * scale)


def _copy_neighbours(pixels: np.ndarray, reach: int, streams: Streams) -> None:
    """One pass over pixels (H, W, N, C) from the last to the first, in place.

    Pixels that cannot see each other's changes are done together: with a reach of 1 a pixel looks only at places not yet
    visited, so all at once; otherwise along the slanted lines reach + 1 columns per row.
    """
    height, width, count = pixels.shape[:3]
    rows, columns = np.arange(height - reach, reach, -1), np.arange(width - reach, reach, -1)
    draws = [stream.integers(-reach, reach, (len(rows), len(columns), 2), dtype=np.int32) for stream in streams]
    shifts = np.stack(draws, axis=2)
    slope = 0 if reach == 1 else reach + 1
    turns = slope * np.arange(len(rows))[:, None] + (slope > 0) * np.arange(len(columns))
    order = np.argsort(turns, axis=None, kind="stable")
    for group in np.split(order, np.flatnonzero(np.diff(turns.ravel()[order])) + 1):
        i, j = np.unravel_index(group, turns.shape)
        down, right = shifts[i, j, :, 0], shifts[i, j, :, 1]
        pixels[rows[i], columns[j]] = pixels[rows[i][:, None] + down, columns[j][:, None] + right, np.arange(count)]


def motion_blur(images: np.ndarray, streams: Streams, radius: float, deviation: float) -> np.ndarray:
    """Half a Gaussian along a line, at an angle drawn from U(−45°, 45°)."""
    scale = pixel_scale(images)
    kernels = [line_kernel(radius * scale, deviation * scale, stream.uniform(-45, 45)) for stream in streams]
    return along_lines(images, kernels)


def along_lines(images: np.ndarray, kernels: Sequence[np.ndarray]) -> np.ndarray:
    """Each image filtered with its own kernel, edges repeated, and rounded to 256 levels as ImageMagick returns them."""
    blurred = each(images, lambda image, i: cv2.filter2D(image, -1, kernels[i], borderType=cv2.BORDER_REPLICATE))
    return np.floor(blurred * 255 + 0.5) / 255


def line_kernel(radius: float, deviation: float, angle: float) -> np.ndarray:
    """ImageMagick's motion blur as a correlation kernel: one-sided Gaussian weights along a direction in degrees."""
    length = 2 * math.ceil(radius) + 1
    weights = np.exp(-0.5 * (np.arange(length) / deviation) ** 2)
    weights = weights[weights > 1e-6 * weights[0]]
    kernel = np.zeros((2 * len(weights) - 1, 2 * len(weights) - 1), np.float32)
    middle = len(weights) - 1
    for step, weight in enumerate(weights / weights.sum()):
        dx = math.ceil(step * math.cos(math.radians(angle)) - 0.5)
        dy = math.ceil(step * math.sin(math.radians(angle)) - 0.5)
        kernel[middle + dy, middle + dx] += weight
    return kernel


def zoom_blur(images: np.ndarray, streams: Streams, end: float, step: float) -> np.ndarray:
    """The mean of the image and of itself enlarged by 1, 1 + step, … below end: one sparse matrix over the pixels."""
    count, channels, height, width = images.shape
    total, summands = _zooms(height, width, end, step)
    pixels = np.ascontiguousarray(images.reshape(count * channels, height * width).T)
    return np.ascontiguousarray((total @ pixels / np.float32(summands)).T).reshape(images.shape)


@lru_cache(maxsize=2)  # for the next batch of the same size
def _zooms(height: int, width: int, end: float, step: float) -> Tuple[Any, int]:
    factors = np.arange(1, end, step)
    total = sparse.identity(height * width, np.float32, format="csr")
    for factor in factors:
        total = total + sparse.kron(zoom_matrix(height, factor), zoom_matrix(width, factor), format="csr")
    return total, len(factors) + 1


def zoom_matrix(side: int, factor: float) -> np.ndarray:
    """Weights (side, side) that enlarge one axis by linear interpolation, as published: not quite about the centre.

    The middle ``ceil(side / factor)`` pixels are stretched from first to last over ``round(kept * factor)``, of which the
    middle ``side`` stay; both middles are rounded down.
    """
    kept = math.ceil(side / factor)
    stretched = round(kept * factor)
    places = (side - kept) // 2 + (np.arange(side) + (stretched - side) // 2) * ((kept - 1) / (stretched - 1))
    return np.maximum(0, 1 - np.abs(places[:, None] - np.arange(side))).astype(np.float32)
