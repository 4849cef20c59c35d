"""Digital corruptions: float32 images (N, C, H, W) in [0, 1] in and out, one random stream per image.

Hendrycks & Dietterich, ICLR 2019 (hendrycks/robustness); the parameters are in `gearnn.robustness.parameters`. Lengths, given
as fractions of the side, scale with it.
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

RED_LUMA = 0.299  # Rec. 601


def contrast(images: np.ndarray, streams: Streams, factor: float) -> np.ndarray:
    """Distances from each channel's mean are shrunk."""
    means = images.mean(axis=(2, 3), keepdims=True)
    return (images - means) * factor + means


def saturate(images: np.ndarray, streams: Streams, factor: float, shift: float) -> np.ndarray:
    """S in HSV becomes S · factor + shift; hue and value stay.

    As published, grey counts as red when S rises above 0; a grey image (C = 1) gets the luma of what it would become.
    """
    value = images.max(axis=1, keepdims=True)
    distance = value - images
    range_ = distance.max(axis=1, keepdims=True)
    saturation = range_ / np.maximum(value, 1e-8)
    wanted = np.clip(saturation * np.float32(factor) + np.float32(shift), 0, 1)
    red = np.array([0, 1, 1] if images.shape[1] == 3 else [1 - RED_LUMA], np.float32).reshape(1, -1, 1, 1)
    return value * (1 - wanted * np.where(range_ > 0, distance / np.maximum(range_, 1e-8), red))


def elastic_transform(images: np.ndarray, streams: Streams, strength: float, smoothness: float, jitter: float) -> np.ndarray:
    """A random affine map of three points, then a smooth random displacement field (Simard et al. 2003)."""
    height, width = images.shape[-2:]
    strength, smoothness, jitter = (parameter * min(height, width) for parameter in (strength, smoothness, jitter))
    centre, third = np.array([height // 2, width // 2], np.float32), min(height, width) // 3
    corners = np.array([centre + third, [centre[0] + third, centre[1] - third], centre - third], np.float32)
    moved = [corners + stream.uniform(-jitter, jitter, (3, 2)).astype(np.float32) for stream in streams]
    maps = [cv2.getAffineTransform(corners, points) for points in moved]
    warped = each(images, lambda image, i: cv2.warpAffine(image, maps[i], (width, height), borderMode=cv2.BORDER_REFLECT_101))
    if strength == 0:
        return warped
    fields = np.stack([stream.uniform(-1, 1, (2, height, width)) for stream in streams])
    fields = _smoothing(height, smoothness) @ fields @ _smoothing(width, smoothness).T * strength
    y, x = np.mgrid[0:height, 0:width]
    source_x, source_y = (x + fields[:, 0]).astype(np.float32), (y + fields[:, 1]).astype(np.float32)
    mode = cv2.BORDER_REFLECT
    return each(warped, lambda image, i: cv2.remap(image, source_x[i], source_y[i], cv2.INTER_LINEAR, borderMode=mode))


def _smoothing(side: int, deviation: float) -> np.ndarray:
    """Gaussian blur along one axis as a matrix (side, side), three deviations wide, edges reflected."""
    return np.asarray(ndimage.gaussian_filter1d(np.eye(side), deviation, axis=0, mode="reflect", truncate=3.0))


def pixelate(images: np.ndarray, streams: Streams, share: float) -> np.ndarray:
    """Shrunk and enlarged again by area averaging."""
    height, width = images.shape[-2:]
    small = (int(width * share), int(height * share))
    return _through_pillow(
        images, lambda image: image.resize(small, Image.Resampling.BOX).resize((width, height), Image.Resampling.BOX)
    )


def jpeg_compression(images: np.ndarray, streams: Streams, quality: float) -> np.ndarray:
    """Saved as JPEG and read back."""

    def compressed(image: Image.Image) -> Image.Image:
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=int(quality))
        return Image.open(buffer)

    return _through_pillow(images, compressed)


def _through_pillow(images: np.ndarray, change: Callable[[Image.Image], Image.Image]) -> np.ndarray:
    levels = np.round(images * 255).astype(np.uint8)

    def apply(image: np.ndarray, _: int) -> np.ndarray:
        return np.asarray(change(Image.fromarray(image[..., 0] if image.shape[2] == 1 else image)))

    return each(levels, apply).astype(np.float32) / 255
