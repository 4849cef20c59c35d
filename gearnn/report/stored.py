"""Reads the larger files of a run folder, and takes no more memory than they fill."""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, List, Optional, Tuple

import numpy as np

ARRAYS = ("clean", "augmented", "corrupted", "labels", "by_severity", "named_clean", "named_corrupted")
"""In examples.npz."""
_LARGEST = 1 << 27  # bytes unpacked
_MOST = 64  # example images
_MOST_PICTURES = 4096  # with their views and corruptions
_PACKED = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


@dataclass(frozen=True)
class Examples:
    """uint8 images: clean (n, C, H, W), augmented (n, J - 1, C, H, W), corrupted (n, kinds, C, H, W); labels (n,).

    ``by_severity`` (kinds, severities, C, H, W) is the first image under every corruption. ``named_clean`` (n,) and
    ``named_corrupted`` (n, kinds) are the classes that the deployed network named.
    """

    clean: np.ndarray
    augmented: Optional[np.ndarray]
    corrupted: Optional[np.ndarray]
    labels: Optional[np.ndarray]
    by_severity: Optional[np.ndarray] = None
    named_clean: Optional[np.ndarray] = None
    named_corrupted: Optional[np.ndarray] = None


def read_text(path: Path, largest: int) -> str:
    """UTF-8 text of a regular file of at most so many bytes; raises OSError or ValueError."""
    if not path.is_file() or path.stat().st_size > largest:
        raise ValueError(f"{path} is missing or too large")
    return path.read_text(encoding="utf-8")


def read_arrays(path: Path) -> Dict[str, np.ndarray]:
    """The arrays of examples.npz, nothing unpickled.

    Raises:
        Exception: of many kinds, for a file that is missing, damaged, or unpacks to more than any of ours.
    """
    if not path.is_file():
        raise ValueError(f"{path} is missing")
    with zipfile.ZipFile(str(path)) as archive:
        entries = {entry.filename: entry for entry in archive.infolist()}
        chosen = {name: entries[f"{name}.npy"] for name in ARRAYS if f"{name}.npy" in entries}
        if sum(entry.file_size for entry in chosen.values()) > _LARGEST:
            raise ValueError(f"{path} unpacks to too much")
        if any(entry.compress_type not in _PACKED for entry in chosen.values()):
            raise ValueError(f"{path} is packed otherwise than ours")
        found = {name: _array(archive.read(entry)) for name, entry in chosen.items()}
    if any(array.ndim and len(array) > _MOST for array in found.values()):
        raise ValueError(f"{path} holds too many images")
    if sum(array.shape[0] * array.shape[1] for array in found.values() if array.ndim == 5) > _MOST_PICTURES:
        raise ValueError(f"{path} holds too many images")
    return found


def _array(content: bytes) -> np.ndarray:
    """An array whose header does not ask for more than there is: NumPy would take the memory first."""
    stream = io.BytesIO(content)
    version = np.lib.format.read_magic(stream)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(stream)
    size = dtype.itemsize
    for length in shape:
        size *= length
    if dtype.hasobject or min(shape, default=0) < 0 or size > len(content):
        raise ValueError("it is cut short")
    array: np.ndarray = np.load(io.BytesIO(content), allow_pickle=False)
    return array


def read_examples(path: Path, missing: List[str]) -> Optional[Examples]:
    """The images of examples.npz that fit together; what could not be read is added to ``missing``, a sentence each."""
    try:
        found = read_arrays(path)
    except Exception:  # NumPy, zipfile and zlib have many words for a damaged file
        missing.append("examples.npz could not be read, so no images are shown.")
        return None

    def images(name: str, dimensions: int) -> Optional[np.ndarray]:
        array = found.get(name)
        if array is None or array.dtype != np.uint8 or array.ndim != dimensions or array.size == 0:
            return None
        return array

    clean = images("clean", 4)
    if clean is None:
        missing.append("examples.npz holds no clean images, so none are shown.")
        return None

    def beside(name: str) -> Optional[np.ndarray]:
        array = images(name, 5)
        return array if array is not None and len(array) == len(clean) else None

    def classes(name: str, shape: Tuple[int, ...]) -> Optional[np.ndarray]:
        array = found.get(name)
        return array if array is not None and array.shape == shape and array.dtype.kind in "iu" else None

    count, corrupted = len(clean), beside("corrupted")
    return Examples(
        clean,
        beside("augmented"),
        corrupted,
        classes("labels", (count,)),
        images("by_severity", 5),
        classes("named_clean", (count,)),
        None if corrupted is None else classes("named_corrupted", corrupted.shape[:2]),
    )
