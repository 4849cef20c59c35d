"""Crop and flip of one image, what comes before all operations: as part of a block program, and in NumPy for the references."""

from __future__ import annotations

import numpy as np

from .block import Block, Function


def make_crop_flip(block: Block) -> Function:
    """Compile ``crop_flip(source, target, dy, dx, flip, channels, height, width)``, the function below on flat images."""
    at = block.index
    column, columns, row, rows = block.column, block.columns, block.row, block.rows

    @block.compile
    def crop_flip(source, target, dy, dx, flip, channels, height, width):
        low, high = min(max(0, -dx), width), max(0, min(width, width - dx))
        first, last = (width - high, width - low) if flip else (low, high)
        for r in range(row(), channels * height, rows()):
            y = r % height + dy
            read = (r - r % height + y) * width + dx
            write = r * width
            if not 0 <= y < height:
                for x in range(column(), width, columns()):
                    target[at(write + x)] = 0
                continue
            # Each pixel is written by one lane only: nothing orders the lanes here.
            for x in range(column(), first, columns()):
                target[at(write + x)] = 0
            for x in range(last + column(), width, columns()):
                target[at(write + x)] = 0
            if flip:
                for x in range(first + column(), last, columns()):
                    target[at(write + x)] = source[at(read + width - 1 - x)]
            else:
                for x in range(first + column(), last, columns()):
                    target[at(write + x)] = source[at(read + x)]

    return crop_flip


def crop_flip_reference(image: np.ndarray, crop: np.ndarray, flip: bool) -> np.ndarray:
    """(C, H, W) shifted by crop = (dy, dx) over a black border, then mirrored left-right where ``flip`` says so.

    Pixel (y, x) before the flip is the source's (y + dy, x + dx).
    """
    _, height, width = image.shape
    shift_y, shift_x = (int(np.clip(shift, -side, side)) for shift, side in zip(crop, (height, width)))
    pad_y, pad_x = abs(shift_y), abs(shift_x)
    padded = np.pad(image, ((0, 0), (pad_y, pad_y), (pad_x, pad_x)))
    top, left = pad_y + shift_y, pad_x + shift_x
    shifted = padded[:, top : top + height, left : left + width]
    return shifted[:, :, ::-1] if flip else shifted
