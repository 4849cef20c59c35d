"""Blur corruptions: float32 images (N, C, H, W) in [0, 1] in and out, one random stream per image.

Parameters per severity are those of CIFAR-10-C (Hendrycks & Dietterich, ICLR 2019; hendrycks/robustness, make_cifar_c.py);
lengths, given in pixels at 32×32, scale with the shorter side.
"""

from __future__ import annotations

import math
from typing import Callable, Sequence

import cv2
import numpy as np
from scipy import ndimage, sparse

from gearnn.robustness.noise import Streams

DEFOCUS = ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1.0, 0.2), (1.5, 0.1))  # disk radius, smoothing of its edge
GLASS = ((0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2))  # blur, largest shift, passes
MOTION = ((6, 1.0), (6, 1.5), (6, 2.0), (8, 2.0), (9, 2.5))  # radius, deviation
ZOOM_LIMIT = (1.06, 1.11, 1.16, 1.21, 1.26)


def pixel_scale(images: np.ndarray) -> float:
    """How many times larger than 32×32 the images are: what lengths in pixels are multiplied by."""
    return min(images.shape[-2:]) / 32


def each(images: np.ndarray, change: Callable[[np.ndarray, int], np.ndarray]) -> np.ndarray:
    """Apply ``change(image (H, W, C), position)`` to every image of (N, C, H, W): OpenCV's layout and back."""
    changed = [change(np.ascontiguousarray(image.transpose(1, 2, 0)), position) for position, image in enumerate(images)]
    stacked = np.stack(changed).reshape(len(images), *changed[0].shape[:2], images.shape[1])
    return np.ascontiguousarray(stacked.transpose(0, 3, 1, 2))


def gaussian_blur(images: np.ndarray, deviation: float) -> np.ndarray:
    """Gaussian blur over the last two axes, four deviations wide, edges repeated."""
    if deviation <= 0:
        return images
    return ndimage.gaussian_filter(images, (0,) * (images.ndim - 2) + (deviation, deviation), mode="nearest", truncate=4.0)


def defocus_blur(images: np.ndarray, severity: int, streams: Streams) -> np.ndarray:
    """Convolution with a disk whose edge is smoothed."""
    kernel = disk_kernel(*DEFOCUS[severity - 1], pixel_scale(images))
    return each(images, lambda image, _: cv2.filter2D(image, -1, kernel))


def disk_kernel(radius: float, smoothing: float, scale: float) -> np.ndarray:
    """A smoothed disk with the lengths of a 32×32 image, for images ``scale`` times as large.

    The published kernel counts whole pixels and would vanish in small images. So the kernel is made for the next whole
    scale, and the weight of each of its points is then shared between the pixels around that point's place.
    """
    whole = max(1, math.ceil(scale))
    reach = math.ceil(radius * whole) + whole + 1
    offsets = np.arange(-reach, reach + 1)
    disk = (offsets[:, None] ** 2 + offsets**2 <= (radius * whole) ** 2).astype(np.float32)
    kernel = cv2.GaussianBlur(disk / disk.sum(), ksize=(2 * whole + 1, 2 * whole + 1), sigmaX=smoothing * whole)
    share = np.maximum(0, 1 - np.abs(offsets[:, None] - offsets * scale / whole))
    return np.asarray(share @ kernel @ share.T, dtype=np.float32)


def glass_blur(images: np.ndarray, severity: int, streams: Streams) -> np.ndarray:
    """Pixels take the place of a near neighbour's, one after the other, between two blurs.

    As published, the exchange overwrites: the neighbour's value is copied, it does not receive the pixel's own.
    """
    deviation, shift, passes = GLASS[severity - 1]
    scale = pixel_scale(images)
    shift = max(1, round(shift * scale))
    blurred = (gaussian_blur(images, deviation * scale) * 255 + 1e-3).astype(np.uint8)
    count, _, height, width = images.shape
    rows, columns = range(height - shift, shift, -1), range(width - shift, shift, -1)
    pixels = np.ascontiguousarray(blurred.transpose(2, 3, 0, 1))
    every = np.arange(count)
    for _ in range(passes):
        draws = [stream.integers(-shift, shift, (len(rows), len(columns), 2), dtype=np.int32) for stream in streams]
        shifts = np.stack(draws, axis=2)
        for i, row in enumerate(rows):
            for j, column in enumerate(columns):
                pixels[row, column] = pixels[row + shifts[i, j, :, 0], column + shifts[i, j, :, 1], every]
    return gaussian_blur(pixels.transpose(2, 3, 0, 1).astype(np.float32) / 255, deviation * scale)


def motion_blur(images: np.ndarray, severity: int, streams: Streams) -> np.ndarray:
    """Half a Gaussian along a line, at an angle drawn from U(−45°, 45°)."""
    radius, deviation = MOTION[severity - 1]
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


def zoom_blur(images: np.ndarray, severity: int, streams: Streams) -> np.ndarray:
    """The mean of the image and of itself enlarged by 1.00, 1.01, …: one sparse matrix over the pixels."""
    factors = np.arange(1, ZOOM_LIMIT[severity - 1], 0.01)
    count, channels, height, width = images.shape
    total = sparse.identity(height * width, np.float32, format="csr")
    for factor in factors:
        total = total + sparse.kron(zoom_matrix(height, factor), zoom_matrix(width, factor), format="csr")
    pixels = np.ascontiguousarray(images.reshape(count * channels, height * width).T)
    return np.ascontiguousarray((total @ pixels / np.float32(len(factors) + 1)).T).reshape(images.shape)


def zoom_matrix(side: int, factor: float) -> np.ndarray:
    """Weights (side, side) that enlarge one axis by linear interpolation, as published: not quite about the centre.

    The middle ``ceil(side / factor)`` pixels are stretched from first to last over ``round(kept * factor)``, of which the
    middle ``side`` stay; both middles are rounded down.
    """
    kept = math.ceil(side / factor)
    stretched = round(kept * factor)
    places = (side - kept) // 2 + (np.arange(side) + (stretched - side) // 2) * ((kept - 1) / (stretched - 1))
    return np.maximum(0, 1 - np.abs(places[:, None] - np.arange(side))).astype(np.float32)
