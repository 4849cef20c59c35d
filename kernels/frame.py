"""Crop and flip of one image: what all references do before their operations."""

from __future__ import annotations

import numpy as np


def crop_flip(image: np.ndarray, crop: np.ndarray, flip: bool) -> np.ndarray:
    """(C, H, W) shifted by crop = (dy, dx) over a black border, then mirrored left-right where ``flip`` says so.

    Pixel (y, x) before the flip is the source's (y + dy, x + dx).
    """
    _, height, width = image.shape
    pad_y, pad_x = abs(int(crop[0])), abs(int(crop[1]))
    padded = np.pad(image, ((0, 0), (pad_y, pad_y), (pad_x, pad_x)))
    top, left = pad_y + int(crop[0]), pad_x + int(crop[1])
    shifted = padded[:, top : top + height, left : left + width]
    return shifted[:, :, ::-1] if flip else shifted
