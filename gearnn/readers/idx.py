"""IDX files, the format of MNIST and Fashion-MNIST, gzipped or not.

Layout (LeCun, Cortes and Burges, "The MNIST database"): big-endian int32 magic, one int32 per dimension, then the bytes;
magic 2051 for images (N, H, W), 2049 for labels (N,).
"""

from __future__ import annotations

import gzip
import struct
import zlib
from pathlib import Path
from typing import Optional, Tuple

import numpy as np

from gearnn.errors import UserError
from gearnn.readers.source import Part, Source

_FASHION = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")
_PREFIXES = ("train", "t10k")


def matches(path: Path) -> bool:
    """True if the folder has IDX training images under one of their usual names."""
    return path.is_dir() and _find(path, "train-images", 3) is not None


def read(path: Path) -> Source:
    """Read the training files (``train-*``) and, where present, the test files (``t10k-*``).

    Fashion-MNIST and MNIST do not say which they are: class names are those of Fashion-MNIST if "fashion" is in the path.

    Raises:
        UserError: a file is missing, truncated or not IDX, or images and labels differ in number.
    """
    train = _part(path, "train")
    has_test = _find(path, "t10k-images", 3) is not None
    test = _part(path, "t10k") if has_test else None
    count = 1 + max(int(part.labels.max(initial=0)) for part in (train, test) if part is not None)
    fashion = "fashion" in str(path.resolve()).lower() and count <= len(_FASHION)
    return Source(
        name="Fashion-MNIST" if fashion else "MNIST" if count == 10 else path.resolve().name,
        description=f"IDX files in {path}",
        classes=_FASHION[:count] if fashion else tuple(str(label) for label in range(count)),
        train=train,
        test=test,
        notes=() if has_test else ("no t10k-images file beside the training images",),
    )


def _find(path: Path, stem: str, dimensions: int) -> Optional[Path]:
    for name in (f"{stem}-idx{dimensions}-ubyte", f"{stem}.idx{dimensions}-ubyte"):
        for suffix in ("", ".gz"):
            if (path / (name + suffix)).is_file():
                return path / (name + suffix)
    return None


def _part(path: Path, prefix: str) -> Part:
    image_file = _find(path, f"{prefix}-images", 3)
    label_file = _find(path, f"{prefix}-labels", 1)
    if image_file is None or label_file is None:
        raise UserError(f"{path} has no {prefix}-labels-idx1-ubyte file (with or without .gz) for its {prefix} images: add it.")
    images, labels = _read_idx(image_file, 3), _read_idx(label_file, 1)
    if len(images) != len(labels):
        raise UserError(
            f"{image_file} has {len(images)} images but {label_file.name} has {len(labels)} labels: download both again."
        )
    return Part(images[:, None], labels.astype(np.int64))


def _read_idx(path: Path, dimensions: int) -> np.ndarray:
    length = 4 + 4 * dimensions
    opener = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rb") as file:
            header = file.read(length)
            if len(header) < length:
                raise UserError(f"{path} is truncated: download it again.")
            magic, shape = struct.unpack(">I", header[:4])[0], struct.unpack(f">{dimensions}I", header[4:])
            if magic != 0x0800 + dimensions:
                raise UserError(
                    f"{path} is not an IDX file of bytes in {dimensions} dimensions (magic {magic}): download it again."
                )
            expected = _product(shape)
            # Deflate packs at most 1,032 to 1; more is announced only by a damaged header.
            if expected > path.stat().st_size * (1040 if path.suffix == ".gz" else 1):
                raise UserError(f"{path} does not hold the {expected:,} bytes that its header announces: download it again.")
            payload = file.read(expected + 1)
    except (gzip.BadGzipFile, EOFError, zlib.error, OverflowError, MemoryError) as error:
        raise UserError(f"{path} is damaged ({str(error) or type(error).__name__}): download it again.") from error
    if len(payload) != expected or not expected:
        raise UserError(f"{path} does not hold the {expected:,} bytes that its header announces: download it again.")
    return np.frombuffer(payload, dtype=np.uint8).reshape(shape).copy()


def _product(shape: Tuple[int, ...]) -> int:
    total = 1
    for side in shape:
        total *= side
    return total
