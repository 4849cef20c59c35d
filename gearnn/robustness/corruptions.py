"""The fifteen corruptions of CIFAR-10-C, generated: one door, keyed randomness."""

from __future__ import annotations

import difflib
import zlib
from typing import Callable, Dict, Optional, Sequence, Tuple, Union

import numpy as np

from gearnn.errors import UserError
from gearnn.robustness import blur, digital, noise, weather

SEVERITIES = (1, 2, 3, 4, 5)

_FUNCTIONS: Dict[str, Callable[[np.ndarray, int, noise.Streams], np.ndarray]] = {
    "gaussian_noise": noise.gaussian_noise,
    "shot_noise": noise.shot_noise,
    "impulse_noise": noise.impulse_noise,
    "defocus_blur": blur.defocus_blur,
    "glass_blur": blur.glass_blur,
    "motion_blur": blur.motion_blur,
    "zoom_blur": blur.zoom_blur,
    "snow": weather.snow,
    "frost": weather.frost,
    "fog": weather.fog,
    "brightness": weather.brightness,
    "contrast": digital.contrast,
    "elastic_transform": digital.elastic_transform,
    "pixelate": digital.pixelate,
    "jpeg_compression": digital.jpeg_compression,
}

CORRUPTIONS: Tuple[str, ...] = tuple(_FUNCTIONS)


def corrupt(
    images: np.ndarray,
    name: str,
    severity: int,
    *,
    seed: int = 0,
    indices: Optional[Union[Sequence[int], np.ndarray]] = None,
) -> np.ndarray:
    """Corrupt images with CIFAR-10-C's published parameters (Hendrycks & Dietterich, ICLR 2019).

    Args:
        images: uint8 (N, C, H, W), C = 1 or 3, sides of at least 8 pixels.
        name: one of `CORRUPTIONS`.
        severity: 1 to 5.
        seed: with the name, the severity and an image's index it decides what happens to that image, whatever the batch.
        indices: (N,) positions in the data set; 0, 1, … by default.

    Returns:
        uint8 (N, C, H, W).

    Raises:
        UserError: for an unknown name (with suggestions), another severity, or images of another kind.
    """
    check(name, severity)
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1] not in (1, 3) or min(images.shape[2:]) < 8:
        raise UserError(
            f"corruptions take uint8 images (N, 1 or 3, H, W) of at least 8 pixels, not {images.dtype} {images.shape}"
        )
    if not len(images):
        return images.copy()
    keys = np.arange(len(images)) if indices is None else np.asarray(indices)
    purpose = zlib.crc32(f"{name} {severity}".encode())
    first = seed % 2**32 << 32 | purpose
    streams = [np.random.Generator(np.random.Philox(key=np.array([first, key], np.uint64))) for key in keys]
    corrupted = _FUNCTIONS[name](images.astype(np.float32) / 255, severity, streams)
    # Truncated, as in the published files; the small term keeps unchanged pixels unchanged.
    return (np.clip(corrupted, 0, 1) * 255 + 1e-3).astype(np.uint8)


def check(name: str, severity: int) -> None:
    """Raise UserError unless both are known."""
    if name not in _FUNCTIONS:
        close = difflib.get_close_matches(name, CORRUPTIONS, n=2, cutoff=0.4)
        hint = f"did you mean {' or '.join(close)}?" if close else f"choose from {', '.join(CORRUPTIONS)}"
        raise UserError(f"there is no corruption called {name!r}: {hint}")
    if severity not in SEVERITIES:
        raise UserError(f"severity goes from 1 to 5, not {severity!r}")
