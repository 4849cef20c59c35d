"""The published parameters of every corruption, per image size and severity.

Three sets, from the programs that made CIFAR-10-C, Tiny-ImageNet-C and ImageNet-C (Hendrycks & Dietterich, ICLR 2019;
hendrycks/robustness: make_cifar_c.py, make_tinyimagenet_c.py, make_imagenet_c.py). Lengths are in pixels at the side the
set was made for, those of elastic_transform in sides; noise levels, weights and qualities have no unit.
"""

from __future__ import annotations

from typing import Dict, Tuple

import numpy as np

Levels = Tuple[Tuple[float, ...], ...]
"""One tuple of parameters per severity."""

SIDES: Dict[str, int] = {"cifar": 32, "tiny-imagenet": 64, "imagenet": 224}
"""The side in pixels that each set was published for."""


def parameter_set(side: int) -> str:
    """The set for a shorter side in pixels: "cifar" up to 48, "tiny-imagenet" up to 128, "imagenet" above."""
    if side <= 48:
        return "cifar"
    return "tiny-imagenet" if side <= 128 else "imagenet"


def published(images: np.ndarray, name: str, severity: int) -> Tuple[float, ...]:
    """What corruption ``name`` takes at a severity from 1 to 5, for images (N, C, H, W) of this size."""
    return PARAMETERS[parameter_set(min(images.shape[-2:]))][name][severity - 1]


def pixel_scale(images: np.ndarray) -> float:
    """How many times larger the images are than those their set was made for: what lengths in pixels are multiplied by."""
    side = min(images.shape[-2:])
    return side / SIDES[parameter_set(side)]


def reference_sides(images: np.ndarray) -> Tuple[int, int]:
    """(height, width) of the images made smaller or larger until their shorter side is the published one."""
    scale = pixel_scale(images)
    return round(images.shape[2] / scale), round(images.shape[3] / scale)


def _single(*values: float) -> Levels:
    return tuple((value,) for value in values)


def _elastic_imagenet(*levels: Tuple[float, float, float]) -> Levels:
    """The program for 224 pixels multiplies by 244."""
    return tuple(tuple(value * 244 / 224 for value in level) for level in levels)


PARAMETERS: Dict[str, Dict[str, Levels]] = {
    "cifar": {
        "gaussian_noise": _single(0.04, 0.06, 0.08, 0.09, 0.10),  # deviation
        "shot_noise": _single(500, 250, 100, 75, 50),  # photons
        "impulse_noise": _single(0.01, 0.02, 0.03, 0.05, 0.07),  # share of the values
        "defocus_blur": ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1.0, 0.2), (1.5, 0.1)),  # radius, smoothing of the edge
        "glass_blur": ((0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2)),  # blur, largest shift, passes
        "motion_blur": ((6, 1.0), (6, 1.5), (6, 2.0), (8, 2.0), (9, 2.5)),  # radius, deviation
        "zoom_blur": ((1.06, 0.01), (1.11, 0.01), (1.16, 0.01), (1.21, 0.01), (1.26, 0.01)),  # end, step
        # mean, deviation, enlargement, threshold, blur radius, blur deviation, share of the image kept
        "snow": (
            (0.1, 0.2, 1.0, 0.6, 8, 3, 0.95),
            (0.1, 0.2, 1.0, 0.5, 10, 4, 0.9),
            (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
            (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
            (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
        ),
        "frost": ((1.0, 0.2), (1.0, 0.3), (0.9, 0.4), (0.85, 0.4), (0.75, 0.45)),  # weight of the image, of the ice
        "fog": ((0.2, 3.0), (0.5, 3.0), (0.75, 2.5), (1.0, 2.0), (1.5, 1.75)),  # density, decay of the roughness
        "brightness": _single(0.05, 0.1, 0.15, 0.2, 0.3),  # added to V
        "contrast": _single(0.75, 0.5, 0.4, 0.3, 0.15),  # factor
        # strength, smoothness and affine jitter, in sides
        "elastic_transform": ((0, 0, 0.08), (0.05, 0.2, 0.07), (0.08, 0.06, 0.06), (0.1, 0.04, 0.05), (0.1, 0.03, 0.03)),
        "pixelate": _single(0.95, 0.9, 0.85, 0.75, 0.65),  # share of the side
        "jpeg_compression": _single(80, 65, 58, 50, 40),  # quality
        "speckle_noise": _single(0.06, 0.1, 0.12, 0.16, 0.2),  # deviation
        "gaussian_blur": _single(0.4, 0.6, 0.7, 0.8, 1),  # deviation
        # mean, deviation, smoothness, threshold, strength of water or smoothness of mud, mud
        "spatter": (
            (0.62, 0.1, 0.7, 0.7, 0.5, 0),
            (0.65, 0.1, 0.8, 0.7, 0.5, 0),
            (0.65, 0.3, 1, 0.69, 0.5, 0),
            (0.65, 0.1, 0.7, 0.69, 0.6, 1),
            (0.65, 0.1, 0.5, 0.68, 0.6, 1),
        ),
        "saturate": ((0.3, 0), (0.1, 0), (1.5, 0), (2, 0.1), (2.5, 0.2)),  # factor of S, added to S
    },
    "tiny-imagenet": {
        "gaussian_noise": _single(0.04, 0.08, 0.12, 0.15, 0.18),
        "shot_noise": _single(250, 100, 50, 30, 15),
        "impulse_noise": _single(0.01, 0.02, 0.05, 0.08, 0.14),
        "defocus_blur": ((0.5, 0.6), (1, 0.1), (1.5, 0.1), (2.5, 0.01), (3, 0.1)),
        "glass_blur": ((0.1, 1, 1), (0.5, 1, 1), (0.6, 1, 2), (0.7, 2, 1), (0.9, 2, 2)),
        "motion_blur": ((10, 1), (10, 1.5), (10, 2), (10, 2.5), (12, 3)),
        "zoom_blur": ((1.06, 0.01), (1.11, 0.01), (1.16, 0.01), (1.21, 0.01), (1.26, 0.01)),
        "snow": (
            (0.1, 0.2, 1, 0.6, 8, 3, 0.8),
            (0.1, 0.2, 1, 0.5, 10, 4, 0.8),
            (0.15, 0.3, 1.75, 0.55, 10, 4, 0.7),
            (0.25, 0.3, 2.25, 0.6, 12, 6, 0.65),
            (0.3, 0.3, 1.25, 0.65, 14, 12, 0.6),
        ),
        "frost": ((1, 0.3), (0.9, 0.4), (0.8, 0.45), (0.75, 0.5), (0.7, 0.55)),
        "fog": ((0.4, 3), (0.7, 3), (1, 2.5), (1.5, 2), (2, 1.75)),
        "brightness": _single(0.1, 0.2, 0.3, 0.4, 0.5),
        "contrast": _single(0.4, 0.3, 0.2, 0.1, 0.05),
        "elastic_transform": ((0, 0, 0.08), (0.05, 0.3, 0.06), (0.1, 0.08, 0.06), (0.1, 0.03, 0.03), (0.16, 0.03, 0.02)),
        "pixelate": _single(0.9, 0.8, 0.7, 0.6, 0.5),
        "jpeg_compression": _single(65, 58, 50, 40, 25),
        "speckle_noise": _single(0.15, 0.2, 0.25, 0.3, 0.35),
        "gaussian_blur": _single(0.5, 0.75, 1, 1.25, 1.5),
        "spatter": (
            (0.62, 0.1, 0.7, 0.7, 0.6, 0),
            (0.65, 0.1, 0.8, 0.7, 0.6, 0),
            (0.65, 0.3, 1, 0.69, 0.6, 0),
            (0.65, 0.1, 0.7, 0.68, 0.6, 1),
            (0.65, 0.1, 0.5, 0.67, 0.6, 1),
        ),
        "saturate": ((0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (30, 0.2)),
    },
    "imagenet": {
        "gaussian_noise": _single(0.08, 0.12, 0.18, 0.26, 0.38),
        "shot_noise": _single(60, 25, 12, 5, 3),
        "impulse_noise": _single(0.03, 0.06, 0.09, 0.17, 0.27),
        "defocus_blur": ((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5)),
        "glass_blur": ((0.7, 1, 2), (0.9, 2, 1), (1, 2, 3), (1.1, 3, 2), (1.5, 4, 2)),
        "motion_blur": ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15)),
        "zoom_blur": ((1.11, 0.01), (1.16, 0.01), (1.21, 0.02), (1.26, 0.02), (1.31, 0.03)),
        "snow": (
            (0.1, 0.3, 3, 0.5, 10, 4, 0.8),
            (0.2, 0.3, 2, 0.5, 12, 4, 0.7),
            (0.55, 0.3, 4, 0.9, 12, 8, 0.7),
            (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65),
            (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55),
        ),
        "frost": ((1, 0.4), (0.8, 0.6), (0.7, 0.7), (0.65, 0.7), (0.6, 0.75)),
        "fog": ((1.5, 2), (2, 2), (2.5, 1.7), (2.5, 1.5), (3, 1.4)),
        "brightness": _single(0.1, 0.2, 0.3, 0.4, 0.5),
        "contrast": _single(0.4, 0.3, 0.2, 0.1, 0.05),
        "elastic_transform": _elastic_imagenet(
            (2, 0.7, 0.1), (2, 0.08, 0.2), (0.05, 0.01, 0.02), (0.07, 0.01, 0.02), (0.12, 0.01, 0.02)
        ),
        "pixelate": _single(0.6, 0.5, 0.4, 0.3, 0.25),
        "jpeg_compression": _single(25, 18, 15, 10, 7),
        "speckle_noise": _single(0.15, 0.2, 0.35, 0.45, 0.6),
        "gaussian_blur": _single(1, 2, 3, 4, 6),
        "spatter": (
            (0.65, 0.3, 4, 0.69, 0.6, 0),
            (0.65, 0.3, 3, 0.68, 0.6, 0),
            (0.65, 0.3, 2, 0.68, 0.5, 0),
            (0.65, 0.3, 1, 0.65, 1.5, 1),
            (0.67, 0.4, 1, 0.65, 1.5, 1),
        ),
        "saturate": ((0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (20, 0.2)),
    },
}
