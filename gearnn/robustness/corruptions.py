"""The corruptions of CIFAR-10-C, Tiny-ImageNet-C and ImageNet-C, generated: one door, keyed randomness."""

from __future__ import annotations

import difflib
import zlib
from typing import Callable, Dict, List, Optional, Sequence, Tuple, Union

import numpy as np

from gearnn.errors import UserError
from gearnn.robustness import blur, digital, noise, weather
from gearnn.robustness.parameters import Levels, published

SEVERITIES = (1, 2, 3, 4, 5)
SMALLEST = 8
_AT_ONCE = 256  # images up to 64×64; bounds the memory of intermediate results

Function = Callable[..., np.ndarray]

_FUNCTIONS: Dict[str, Function] = {
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
    "speckle_noise": noise.speckle_noise,
    "gaussian_blur": blur.gaussian_blur,
    "spatter": weather.spatter,
    "saturate": digital.saturate,
}

ALL_CORRUPTIONS: Tuple[str, ...] = tuple(_FUNCTIONS)
CORRUPTIONS: Tuple[str, ...] = ALL_CORRUPTIONS[:15]
"""What robust accuracy is the mean over."""
EXTRA_CORRUPTIONS: Tuple[str, ...] = ALL_CORRUPTIONS[15:]
"""Published beside them for validation; not part of the mean."""

_ADDED: Dict[str, Tuple[Function, Levels]] = {}


def register_corruption(name: str, function: Function, levels: Levels) -> None:
    """Make another corruption available to `corrupt` and `benchmark`; it is reported beside the mean, like the extra ones.

    Args:
        name: not a published one.
        function: ``(images, streams, *parameters) -> images`` on float32 (N, C, H, W) in [0, 1], which it must not change; each
            image draws from its own random stream only.
        levels: one tuple of parameters for each severity from 1 to 5, whatever the size of the images.

    Raises:
        UserError: for a published name, or another number of levels.
    """
    if name in _FUNCTIONS or len(levels) != len(SEVERITIES):
        raise UserError(
            f"a corruption needs a name of its own and parameters for 5 severities, not {name!r} and those for {len(levels)}"
        )
    _ADDED[name] = (function, tuple(levels))


def corrupt(
    images: np.ndarray,
    name: str,
    severity: int,
    *,
    seed: int = 0,
    indices: Optional[Union[Sequence[int], np.ndarray]] = None,
) -> np.ndarray:
    """Corrupt images with the published parameters for their size (Hendrycks & Dietterich, ICLR 2019).

    The shorter side decides: CIFAR-10-C's up to 48 pixels, Tiny-ImageNet-C's up to 128, ImageNet-C's above; see
    `gearnn.robustness.parameters`.

    Args:
        images: uint8 (N, C, H, W), C = 1 (grey) or 3 (RGB), sides of at least 8 pixels.
        name: one of `ALL_CORRUPTIONS`, or one that was registered.
        severity: 1 to 5.
        seed: any integer, taken modulo 2**32. With the name, the severity and an image's index it decides what happens to
            that image, whatever else is in the batch.
        indices: (N,) positions in the data set, not negative; 0, 1, … by default.

    Returns:
        uint8 (N, C, H, W).

    Raises:
        UserError: for an unknown name (with suggestions), another severity, or images or indices of another kind.
    """
    check(name, severity)
    images = _checked_images(images)
    positions = _checked_indices(indices, len(images))
    function, parameters = _chosen(images, name, severity)
    corrupted = np.empty(images.shape, np.uint8)
    at_once = max(1, min(_AT_ONCE, _AT_ONCE * 64 * 64 // (images.shape[2] * images.shape[3])))
    for start in range(0, len(images), at_once):
        rows = slice(start, start + at_once)
        streams = _streams(name, severity, seed, positions[rows])
        changed = function(images[rows].astype(np.float32) / 255, streams, *parameters)
        # Truncated, as in the published files; the small term keeps unchanged pixels unchanged.
        corrupted[rows] = np.clip(changed, 0, 1) * 255 + 1e-3
    return corrupted


def check(name: str, severity: int) -> None:
    """Raise UserError unless both are known."""
    known = (*ALL_CORRUPTIONS, *_ADDED)
    if name not in known:
        close = difflib.get_close_matches(str(name), known, n=2, cutoff=0.4)
        hint = f"did you mean {' or '.join(close)}?" if close else f"choose from {', '.join(known)}"
        raise UserError(f"there is no corruption called {name!r}: {hint}")
    if not isinstance(severity, (int, np.integer)) or isinstance(severity, bool) or severity not in SEVERITIES:
        raise UserError(f"severity is a whole number from 1 to 5, not {severity!r}")


def _chosen(images: np.ndarray, name: str, severity: int) -> Tuple[Function, Tuple[float, ...]]:
    """What does it, and the parameters for these images."""
    if name in _ADDED:
        function, levels = _ADDED[name]
        return function, levels[severity - 1]
    return _FUNCTIONS[name], published(images, name, severity)


def _checked_images(images: np.ndarray) -> np.ndarray:
    images = np.asarray(images)
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1] not in (1, 3) or min(images.shape[2:]) < SMALLEST:
        raise UserError(
            f"corruptions take uint8 images (N, 1 or 3, H, W) of at least {SMALLEST} pixels, "
            f"not {images.dtype} {tuple(images.shape)}"
        )
    return images


def _checked_indices(indices: Optional[Union[Sequence[int], np.ndarray]], count: int) -> np.ndarray:
    if indices is None:
        return np.arange(count)
    positions = np.asarray(indices)
    empty = count == 0 and positions.size == 0
    if positions.shape != (count,) or not (empty or (np.issubdtype(positions.dtype, np.integer) and positions.min() >= 0)):
        raise UserError(
            f"indices must be {count} whole numbers from 0 on, one per image, not {positions.dtype} {tuple(positions.shape)}"
            + (f" from {positions.min()} on" if positions.size else "")
        )
    return positions


def _streams(name: str, severity: int, seed: int, positions: np.ndarray) -> List[np.random.Generator]:
    """One generator per image; the key is 64 bits of seed and purpose, and 64 of the position."""
    purpose = (int(seed) % 2**32) << 32 | zlib.crc32(f"{name} {severity}".encode())
    keys = np.empty((len(positions), 2), np.uint64)
    keys[:, 0], keys[:, 1] = purpose, positions
    return [np.random.Generator(np.random.Philox(key=key)) for key in keys]
