"""What a person should know of the images and labels themselves: leaks, contradictions, imbalance, conversions."""

from __future__ import annotations

import hashlib
import os
import unicodedata
from pathlib import Path
from typing import Callable, Dict, List, Optional, Sequence, Set, Tuple

import numpy as np

from gearnn.readers.decode import LARGEST, SMALLEST
from gearnn.readers.source import Part, listed
from gearnn.readers.store import Stored

_UNEVEN = 3.0  # largest class over smallest one

Namer = Callable[[int], str]


def one_line(text: str) -> str:
    """``text`` with control characters and line breaks of any kind written as escapes, so that a sentence stays one line."""
    return "".join(
        char.encode("unicode_escape").decode("ascii") if unicodedata.category(char) in ("Cc", "Zl", "Zp") else char
        for char in text
    )


def duplicates(train: np.ndarray, train_labels: np.ndarray, test: np.ndarray, train_name: Namer, test_name: Namer) -> List[str]:
    """Notes on images that are equal to the last pixel, found by a hash of the decoded pixels.

    Args:
        train, test: uint8 (N, C, H, W), in memory or mapped; every byte is read once.
        train_labels: int64 (N,).
        train_name, test_name: from a row to what a person would call the image.
    """
    first: Dict[bytes, int] = {}
    conflicts: List[str] = []
    for row, key in enumerate(_keys(train)):
        other = first.setdefault(key, row)
        if train_labels[other] != train_labels[row]:
            conflicts.append(f"{train_name(row)} = {train_name(other)}")
    leaks = [f"{test_name(row)} = {train_name(first[key])}" for row, key in enumerate(_keys(test)) if key in first]
    notes = []
    if leaks:
        notes.append(
            f"{len(leaks)} of {len(test)} test images {_are(leaks)} also in the training set, pixel by pixel, so the test "
            f"accuracy flatters: {listed(leaks)}"
        )
    if conflicts:
        notes.append(f"pairs of equal training images with different labels: {len(conflicts)} ({listed(conflicts)})")
    return notes


def imbalance(classes: Sequence[str], labels: np.ndarray) -> List[str]:
    """Notes on training classes of one image, and on very uneven ones."""
    counts = np.bincount(labels, minlength=len(classes))
    single = [name for name, count in zip(classes, counts) if count == 1]
    notes = [f"classes with a single training image: {listed(single)}"] if single else []
    most, least = int(np.argmax(counts)), int(np.argmin(counts))
    if counts[most] > _UNEVEN * counts[least]:
        notes.append(
            f"uneven classes: {classes[most]} has {counts[most]} training images, {classes[least]} {counts[least]} "
            f"({counts[most] / counts[least]:.1f} times fewer)"
        )
    return notes


def conversions(image_size: Optional[int], stored: Stored) -> List[str]:
    """Notes on what decoding has done to the images; ``image_size`` is the side that was asked for."""
    size, channels, native = stored.form
    notes = []
    if not native and image_size is None:
        notes.append(
            f"the images do not share one square size from {SMALLEST} to {LARGEST}: shorter side resized to {size}, centre cut "
            "out (image_size chooses another size)"
        )
    plain = "L" if channels == 1 else "RGB"
    converted = sorted((mode, count) for mode, count in stored.outcome.modes.items() if mode != plain)
    if converted:
        target = "8-bit grey" if channels == 1 else "8-bit RGB"
        notes.append(f"converted to {target}: " + ", ".join(f"{count} of mode {mode}" for mode, count in converted))
    if stored.streamed_from is not None:
        notes.append(f"streamed from {stored.streamed_from}: decoded images exceed the memory limit")
    return notes


def _keys(images: np.ndarray) -> List[bytes]:
    return [hashlib.blake2b(np.ascontiguousarray(image).data, digest_size=16).digest() for image in images]


def _are(found: List[str]) -> str:
    return "is" if len(found) == 1 else "are"


def statistics(images: np.ndarray, chunk: int = 1024) -> Tuple[Tuple[float, ...], Tuple[float, ...]]:
    """Mean and standard deviation per channel of uint8 (N, C, H, W) / 255, exact, from histograms of the pixel values."""
    counts = np.zeros((images.shape[1], 256), dtype=np.int64)
    for start in range(0, len(images), chunk):
        block = images[start : start + chunk]
        for channel in range(len(counts)):
            counts[channel] += np.bincount(block[:, channel].ravel(), minlength=256)
    values = np.arange(256) / 255
    weights = counts / counts.sum(axis=1, keepdims=True)
    mean = weights @ values
    # An image of one colour must not make the normalised input infinite.
    std = np.maximum(np.sqrt(np.maximum(weights @ values**2 - mean**2, 0)), 1 / 255)
    return tuple(float(value) for value in mean), tuple(float(value) for value in std)


def namer(part: Part, word: str, start: int, bad: Set[int]) -> Callable[[int], str]:
    """From a row of the readable images of ``part``, which begins at row ``start`` of all, to the name of its image."""
    if isinstance(part.images, np.ndarray):
        return lambda row: f"{word}[{row}]"
    kept = [path for row, path in enumerate(part.images, start) if row not in bad]
    return lambda row: short(kept[row])


def short(path: Path) -> str:
    """The last three parts of a path, as text."""
    return "/".join(os.fsencode(part).decode("utf-8", "replace") for part in path.parts[-3:])
