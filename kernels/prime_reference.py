"""PRIME plans executed with NumPy in float64, image by image: what the kernels are held to."""

from __future__ import annotations

from typing import Tuple

import numpy as np

from .frame import crop_flip_reference
from .philox import philox4x32
from .prime_plan import PRIME_OPERATIONS, PrimePlan


def prime_views_reference(images: np.ndarray, plan: PrimePlan) -> np.ndarray:
    """The clean and the augmented views of a batch.

    Args:
        images: uint8 (B, C, H, W).
        plan: of B images.

    Returns:
        float32 (J, B, C, H, W) in [0, 1].
    """
    views = np.empty((plan.views, *images.shape), np.float32)
    for n, image in enumerate(images):
        clean = crop_flip_reference(image / 255, plan.crop[n], plan.flip[n])
        views[0, n] = clean
        for view in range(plan.views - 1):
            mixture = (1 - float(plan.mix[n, view])) * clean
            for chain, weight in enumerate(plan.chain_weights[n, view]):
                values = clean
                for op, args, words in zip(plan.ops[n, view, chain], plan.args[n, view, chain], plan.words[n, view, chain]):
                    if op >= 0:
                        values = apply_primitive(PRIME_OPERATIONS[op], values, float(args[0]), int(args[1]), words)
                mixture = mixture + float(plan.mix[n, view]) * float(weight) * values
            views[view + 1, n] = np.minimum(mixture, 1)
    return views


def apply_primitive(name: str, image: np.ndarray, strength: float, cut: int, words: np.ndarray) -> np.ndarray:
    """One operation on one image in [0, 1], float64 (C, H, W), with a plan's strength, cut and words."""
    channels, height, width = image.shape
    if name == "diffeomorphism":
        move_x, move_y = (
            strength * side * _field(words, stream, cut, (height, width)) for stream, side in ((0, width), (1, height))
        )
        return _remap(image, move_x, move_y)
    if name == "colour":
        coefficients = strength * normals(words, 0, channels * cut).reshape(channels, cut)
        waves = np.sin(np.pi * np.arange(1, cut + 1)[:, None, None, None] * image)
        return np.clip(image + np.einsum("ck,kchw->chw", coefficients, waves), 0, 1)
    if name == "filter":
        weights = strength * normals(words, 0, 9).reshape(3, 3)
        weights[1, 1] += 1
        padded = np.pad(image, ((0, 0), (1, 1), (1, 1)))
        taps = [weights[i, j] * padded[:, i : i + height, j : j + width] for i in range(3) for j in range(3)]
        return np.clip(np.sum(taps, axis=0), 0, 1)
    return np.clip(image + strength * normals(words, 0, image.size).reshape(image.shape), 0, 1)


def normals(words: np.ndarray, stream: int, count: int) -> np.ndarray:
    """Standard normal variates of a step, float64 (count,): two pairs a Philox block, by Box and Muller's transformation."""
    counter = np.zeros((-(-count // 4), 4), np.uint32)
    counter[:, 0] = np.arange(len(counter))
    counter[:, 1] = stream
    counter[:, 2:] = words[2:]
    blocks = philox4x32(counter, (int(words[0]), int(words[1])))
    radius = np.sqrt(-2 * np.log(((blocks[:, 0::2] >> 9) + 0.5) * 2.0**-23))
    angle = 2 * np.pi * ((((blocks[:, 1::2] & 0x7FFFFFFF) >> 9) + 0.5) * 2.0**-23 + (blocks[:, 1::2] >> 31) * 0.5)
    return np.stack((radius * np.cos(angle), radius * np.sin(angle)), axis=-1).reshape(-1)[:count]


def _field(words: np.ndarray, stream: int, cut: int, image_size: Tuple[int, int]) -> np.ndarray:
    """sum_ij c_ij sin(i pi x) sin(j pi y) / r over i² + j² < (cut + 1/2)², float64 (H, W)."""
    k = np.arange(1, cut + 1)
    squares = k[:, None] ** 2 + k**2
    size = -(-cut // 4) * 4  # the variates are drawn for a whole number of fours
    drawn = normals(words, stream, size * size).reshape(size, size)[:cut, :cut]
    coefficients = drawn / np.sqrt(squares) * (squares < (cut + 0.5) ** 2)
    waves_y, waves_x = (np.sin(np.pi * k[:, None] * np.linspace(0, 1, side)) for side in image_size)
    return np.asarray(np.einsum("ij,ix,jy->yx", coefficients, waves_x, waves_y, optimize=True))


def _remap(image: np.ndarray, move_x: np.ndarray, move_y: np.ndarray) -> np.ndarray:
    _, height, width = image.shape
    y, x = np.mgrid[0:height, 0:width]
    x, y = np.clip(x - move_x, 0, width - 1), np.clip(y - move_y, 0, height - 1)
    left, top = x.astype(int), y.astype(int)
    right, bottom = np.minimum(left + 1, width - 1), np.minimum(top + 1, height - 1)
    upper = image[:, top, left] + (image[:, top, right] - image[:, top, left]) * (x - left)
    under = image[:, bottom, left] + (image[:, bottom, right] - image[:, bottom, left]) * (x - left)
    return np.asarray(upper + (under - upper) * (y - top))
