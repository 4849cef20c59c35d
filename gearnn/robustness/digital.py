"""Digital corruptions: float32 images (N, C, H, W) in [0, 1] in and out, one random stream per image.

Parameters per severity are those of CIFAR-10-C (Hendrycks & Dietterich, ICLR 2019; hendrycks/robustness, make_cifar_c.py);
lengths, given as fractions of the side, scale with it.
"""

from __future__ import annotations

import io
from typing import Callable

import cv2
import numpy as np
from PIL import Image
from scipy import ndimage

from gearnn.robustness.blur import each
from gearnn.robustness.noise import Streams

CONTRAST = (0.75, 0.5, 0.4, 0.3, 0.15)
ELASTIC = ((0.0, 0.0, 0.08), (0.05, 0.2, 0.07), (0.08, 0.06, 0.06), (0.1, 0.04, 0.05), (0.1, 0.03, 0.03))
PIXELATE = (0.95, 0.9, 0.85, 0.75, 0.65)
JPEG_QUALITY = (80, 65, 58, 50, 40)


def contrast(images: np.ndarray, severity: int, streams: Streams) -> np.ndarray:
    """Distances from each channel's mean are shrunk."""
    means = images.mean(axis=(2, 3), keepdims=True)
    return (images - means) * CONTRAST[severity - 1] + means


def elastic_transform(images: np.ndarray, severity: int, streams: Streams) -> np.ndarray:
    """A random affine map of three points, then a smooth random displacement field (Simard et al. 2003)."""
    height, width = images.shape[-2:]
    strength, smoothness, jitter = (parameter * min(height, width) for parameter in ELASTIC[severity - 1])
    centre, third = np.array([height // 2, width // 2], np.float32), min(height, width) // 3
    corners = np.array([centre + third, [centre[0] + third, centre[1] - third], centre - third], np.float32)
    moved = [corners + stream.uniform(-jitter, jitter, (3, 2)).astype(np.float32) for stream in streams]
    maps = [cv2.getAffineTransform(corners, points) for points in moved]
    warped = each(images, lambda image, i: cv2.warpAffine(image, maps[i], (width, height), borderMode=cv2.BORDER_REFLECT_101))
    if strength == 0:
        return warped
    fields = np.stack([stream.uniform(-1, 1, (2, height, width)) for stream in streams])
    fields = ndimage.gaussian_filter(fields, (0, 0, smoothness, smoothness), mode="reflect", truncate=3.0) * strength
    y, x = np.mgrid[0:height, 0:width]
    source_x, source_y = (x + fields[:, 0]).astype(np.float32), (y + fields[:, 1]).astype(np.float32)
    mode = cv2.BORDER_REFLECT
    return each(warped, lambda image, i: cv2.remap(image, source_x[i], source_y[i], cv2.INTER_LINEAR, borderMode=mode))


def pixelate(images: np.ndarray, severity: int, streams: Streams) -> np.ndarray:
    """Shrunk and enlarged again by area averaging."""
    height, width = images.shape[-2:]
    small = (int(width * PIXELATE[severity - 1]), int(height * PIXELATE[severity - 1]))
    return _through_pillow(
        images, lambda image: image.resize(small, Image.Resampling.BOX).resize((width, height), Image.Resampling.BOX)
    )


def jpeg_compression(images: np.ndarray, severity: int, streams: Streams) -> np.ndarray:
    """Saved as JPEG and read back."""

    def compressed(image: Image.Image) -> Image.Image:
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=JPEG_QUALITY[severity - 1])
        return Image.open(buffer)

    return _through_pillow(images, compressed)


def _through_pillow(images: np.ndarray, change: Callable[[Image.Image], Image.Image]) -> np.ndarray:
    levels = np.round(images * 255).astype(np.uint8)

    def apply(image: np.ndarray, _: int) -> np.ndarray:
        return np.asarray(change(Image.fromarray(image[..., 0] if image.shape[2] == 1 else image)))

    return each(levels, apply).astype(np.float32) / 255
