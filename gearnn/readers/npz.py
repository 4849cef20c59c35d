"""``.npz`` files: ``x`` and ``y``, with ``x_test`` and ``y_test`` where there is a test set.

``x`` is uint8 (or integers from 0 to 255): (N, H, W) grey, (N, C, H, W) or (N, H, W, C) with C 1 or 3. Of a
four-dimensional array the axis that has 1 or 3 entries is the channel; if both axis 1 and axis 3 qualify, or neither
does, the file is refused rather than guessed at. ``y`` is integers (N,) or (N, 1). ``classes``, a vector of strings,
names the labels 0, 1, 2...; without it the labels are their own names. ``x_train`` and ``y_train`` may stand for
``x`` and ``y``. Nothing is unpickled.
"""

from __future__ import annotations

import errno
import os
import sys
import zipfile
from pathlib import Path
from typing import Dict, List, Optional, Tuple

import numpy as np

from gearnn.errors import UserError
from gearnn.readers.folders import subfolders
from gearnn.readers.source import Part, Source

_ALIASES = {"x_train": "x", "y_train": "y"}


def matches(path: Path) -> bool:
    """True for an ``.npz`` file, or a folder that holds exactly one and no sub-folders."""
    return _file(path) is not None


def read(path: Path) -> Source:
    """Read the arrays into memory.

    Raises:
        UserError: the file is damaged, holds objects, or its arrays do not have the shapes and types above.
    """
    file = _file(path)
    assert file is not None
    arrays = _load(file)
    train_x, train_y = _images(file, "x", arrays), _labels(file, "y", arrays)
    test_x = test_y = None
    if "x_test" in arrays or "y_test" in arrays:
        test_x, test_y = _images(file, "x_test", arrays), _labels(file, "y_test", arrays)
        if test_x.shape[1:] != train_x.shape[1:]:
            raise UserError(f"The images of x and x_test in {file} differ in shape: {train_x.shape[1:]} and {test_x.shape[1:]}.")
    classes, (train_y, test_y) = _classes(file, arrays.get("classes"), train_y, test_y)
    return Source(
        name=file.stem,
        description=f"arrays in {file}",
        classes=classes,
        train=_part(file, "x", train_x, train_y),
        test=None if test_x is None or test_y is None else _part(file, "x_test", test_x, test_y),
    )


def _file(path: Path) -> Optional[Path]:
    if path.is_file():
        return path if path.suffix.lower() == ".npz" else None
    if not path.is_dir():
        return None
    found = [file for file in path.glob("*.npz") if file.is_file() and not file.name.startswith(".")]
    return found[0] if len(found) == 1 and not subfolders(path) else None


def _load(file: Path) -> Dict[str, np.ndarray]:
    try:
        wanted = {"x", "y", "x_test", "y_test", "classes", *_ALIASES}
        with zipfile.ZipFile(file) as archive:
            sizes = [_announced(archive, info) for info in archive.infolist() if info.filename[:-4] in wanted]
        if sum(sizes) > _memory():
            raise MemoryError
        with np.load(file, allow_pickle=False) as arrays:
            return {_ALIASES.get(name, name): arrays[name] for name in arrays.files if name in wanted}
    except MemoryError as error:
        raise UserError(f"{file} announces more data than this machine's memory holds: give image files instead.") from error
    except Exception as error:  # a damaged archive can fail in any way
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):  # EINVAL: a seek to before the start
            raise
        reason = (
            "it holds Python objects, which are never unpickled" if "pickle" in str(error) else "damaged, or not an .npz file"
        )
        raise UserError(f"{file} cannot be read ({reason}): write it again with np.savez(file, x=images, y=labels).") from error


def _announced(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> int:
    """Bytes of one member; its header is looked at before NumPy reserves memory by it."""
    with archive.open(info) as member:
        version = np.lib.format.read_magic(member)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(member)
        start = member.tell()
    if dtype.hasobject:
        raise ValueError("needs pickle")
    expected = dtype.itemsize
    for side in shape:
        expected *= int(side)
    if expected < 0 or start + expected != info.file_size:
        raise ValueError("the header does not fit the size")
    return expected


def _memory() -> int:
    """Physical memory in bytes; where that is not told, no limit."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return sys.maxsize


def _images(file: Path, name: str, arrays: Dict[str, np.ndarray]) -> np.ndarray:
    """uint8 (N, C, H, W)."""
    array = _array(file, name, arrays)
    if array.dtype != np.uint8:
        if array.dtype.kind not in "iu" or array.size == 0 or array.min() < 0 or array.max() > 255:
            raise UserError(f"'{name}' in {file} is {array.dtype}: give uint8 from 0 to 255.")
        array = array.astype(np.uint8)
    if array.ndim == 3:
        array = array[:, None]
    elif array.ndim == 4:
        first, last = array.shape[1] in (1, 3), array.shape[3] in (1, 3)
        if first == last:
            found = "two axes" if first else "no axis"
            raise UserError(
                f"'{name}' in {file} has shape {array.shape}, where {found} could be the channel: give (N, H, W), or "
                "(N, C, H, W) with C 1 or 3 and larger images."
            )
        array = array if first else np.ascontiguousarray(array.transpose(0, 3, 1, 2))
    else:
        raise UserError(f"'{name}' in {file} has shape {array.shape}: give (N, H, W), (N, C, H, W) or (N, H, W, C).")
    if array.size == 0:
        raise UserError(f"'{name}' in {file} holds no images (shape {array.shape}).")
    return array


def _labels(file: Path, name: str, arrays: Dict[str, np.ndarray]) -> np.ndarray:
    """int64 (N,), as in the file."""
    array = _array(file, name, arrays)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise UserError(f"'{name}' in {file} is {array.dtype} of shape {array.shape}: give one integer per image.")
    return array.astype(np.int64)


def _array(file: Path, name: str, arrays: Dict[str, np.ndarray]) -> np.ndarray:
    if name not in arrays:
        raise UserError(
            f"{file} has no array '{name}': write it with np.savez(file, x=images, y=labels[, x_test=..., y_test=...])."
        )
    return arrays[name]


def _classes(
    file: Path, names: Optional[np.ndarray], train: np.ndarray, test: Optional[np.ndarray]
) -> Tuple[Tuple[str, ...], Tuple[np.ndarray, Optional[np.ndarray]]]:
    values = np.unique(train if test is None else np.concatenate([train, test]))
    if names is None:
        return tuple(str(value) for value in values), (
            np.searchsorted(values, train).astype(np.int64),
            None if test is None else np.searchsorted(values, test).astype(np.int64),
        )
    texts: List[str] = [str(name) for name in names.tolist()] if names.ndim == 1 and names.dtype.kind == "U" else []
    if not texts or len(set(texts)) != len(texts):
        raise UserError(f"'classes' in {file} is no vector of different strings: give np.array(['cat', 'dog', ...]).")
    if values.size and (values[0] < 0 or values[-1] >= len(texts)):
        raise UserError(f"The labels in {file} run from {values[0]} to {values[-1]} but 'classes' names only {len(texts)}.")
    return tuple(texts), (train, test)


def _part(file: Path, name: str, images: np.ndarray, labels: np.ndarray) -> Part:
    if len(images) != len(labels):
        raise UserError(f"{file} has {len(images)} images in '{name}' but {len(labels)} labels: give one label per image.")
    return Part(images, labels)
