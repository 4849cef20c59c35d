"""CIFAR-10 and CIFAR-100 in their two official layouts, binary and Python.

Layouts: Krizhevsky, "Learning multiple layers of features from tiny images" (2009) and the page of the data set. A binary
record is the label (CIFAR-100: coarse label, fine label), then 3 x 32 x 32 bytes, channel by channel. A Python batch is a
pickled dictionary; it is read by `load_batch`, which can build NumPy arrays and nothing else.
"""

from __future__ import annotations

import pickle
import pickletools
import re
from pathlib import Path
from types import FunctionType
from typing import Any, BinaryIO, Dict, List, NamedTuple, Optional, Set, Tuple

import numpy as np

from gearnn.errors import UserError
from gearnn.readers.audit import one_line
from gearnn.readers.source import Part, Source

_SIDE = 32
_PIXELS = 3 * _SIDE * _SIDE
NAMES_10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


_TUPLES = ("TUPLE", "TUPLE1", "TUPLE2", "TUPLE3")
_MOST_TUPLES = 1000
_MOST_MEMO = 2**20
_NEEDLESS = (
    *("DUP", "POP", "POP_MARK", "EMPTY_SET", "ADDITEMS", "FROZENSET", "NEXT_BUFFER", "READONLY_BUFFER"),
    *("EXT1", "EXT2", "EXT4", "PERSID", "BINPERSID"),
)


class _Layout(NamedTuple):
    name: str
    train: str  # glob
    test: str
    classes: int
    names_file: str
    python: bool


_LAYOUTS = (
    _Layout("CIFAR-10", "data_batch_*.bin", "test_batch.bin", 10, "batches.meta.txt", python=False),
    _Layout("CIFAR-100", "train.bin", "test.bin", 100, "fine_label_names.txt", python=False),
    _Layout("CIFAR-10", "data_batch_[0-9]", "test_batch", 10, "batches.meta", python=True),
    _Layout("CIFAR-100", "train", "test", 100, "meta", python=True),
)


def matches(path: Path) -> bool:
    """True if the folder has the training file(s) of one of the four layouts."""
    return _layout(path) is not None


def read(path: Path) -> Source:
    """Read all batches; of CIFAR-100's two labels the fine one is used.

    Raises:
        UserError: the test batch is missing, or a file is truncated, malformed or asks for more than NumPy arrays.
    """
    layout = _layout(path)
    assert layout is not None
    files = _train_files(path, layout)
    test = path / layout.test
    if not test.is_file():
        raise UserError(f"{path} has {files[0].name} but no {layout.test}: unpack the whole archive of {layout.name}.")
    read_file = _read_python if layout.python else _read_binary
    batches = [read_file(file, layout.classes) for file in files]
    notes = []
    if layout.classes == 10 and len(files) != 5:
        notes.append(f"{len(files)} of the 5 training batches are there")
    return Source(
        name=layout.name,
        description=f"{layout.name}, {'Python' if layout.python else 'binary'} layout, in {path}",
        classes=_class_names(path, layout),
        train=Part(np.concatenate([images for images, _ in batches]), np.concatenate([labels for _, labels in batches])),
        test=Part(*read_file(test, layout.classes)),
        notes=tuple(notes),
    )


def _layout(path: Path) -> Optional[_Layout]:
    if not path.is_dir():
        return None
    return next((layout for layout in _LAYOUTS if _train_files(path, layout)), None)


def _train_files(path: Path, layout: _Layout) -> List[Path]:
    return sorted(file for file in path.glob(layout.train) if file.is_file())


def _read_binary(path: Path, classes: int) -> Tuple[np.ndarray, np.ndarray]:
    before = 1 if classes == 10 else 2
    record = before + _PIXELS
    data = np.fromfile(path, dtype=np.uint8)
    if not len(data) or len(data) % record:
        raise UserError(f"{path} has {len(data):,} bytes, not a multiple of {record:,}: it is truncated, so unpack it again.")
    rows = data.reshape(-1, record)
    images = np.ascontiguousarray(rows[:, before:]).reshape(-1, 3, _SIDE, _SIDE)
    return images, _checked_labels(path, rows[:, before - 1], len(rows), classes)


def _read_python(path: Path, classes: int) -> Tuple[np.ndarray, np.ndarray]:
    batch = load_batch(path)
    images, labels = batch.get("data"), batch.get("labels" if classes == 10 else "fine_labels")
    if not isinstance(images, np.ndarray) or images.dtype != np.uint8 or images.ndim != 2 or images.shape[1] != _PIXELS:
        raise UserError(f"'data' in {path} is not uint8 (N, {_PIXELS}): unpack the archive again.")
    if not len(images):
        raise UserError(f"{path} holds no images: unpack the archive again.")
    images = np.ascontiguousarray(images).reshape(-1, 3, _SIDE, _SIDE)
    return images, _checked_labels(path, labels, len(images), classes)


def _checked_labels(path: Path, labels: Any, count: int, classes: int) -> np.ndarray:
    if not isinstance(labels, (list, np.ndarray)) or not all(isinstance(label, (int, np.integer)) for label in labels):
        raise UserError(f"The labels in {path} are no list of integers: unpack the archive again.")
    if len(labels) != count:
        raise UserError(f"{path} has {count} images but {len(labels)} labels: unpack the archive again.")
    if min(labels) < 0 or max(labels) >= classes:
        raise UserError(f"{path} has labels outside 0 to {classes - 1}: unpack the archive again.")
    return np.array(labels, dtype=np.int64)


def _class_names(path: Path, layout: _Layout) -> Tuple[str, ...]:
    names: List[str] = []
    file = path / layout.names_file
    if file.is_file() and layout.python:
        found = load_batch(file).get("label_names" if layout.classes == 10 else "fine_label_names")
        if isinstance(found, list):
            names = [_text(name) for name in found if isinstance(name, (str, bytes))]
    elif file.is_file():
        names = file.read_text(encoding="utf-8", errors="replace").split()
    if len(names) == layout.classes and len(set(names)) == len(names):
        return tuple(names)
    return NAMES_10 if layout.classes == 10 else tuple(str(label) for label in range(layout.classes))


def load_batch(path: Path) -> Dict[str, Any]:
    """Read a Python batch: a dictionary of numbers, strings, lists and NumPy arrays.

    The pickle may name only what NumPy needs to rebuild an array; anything else is refused before it is looked up, so no
    code from the file (or called by it) runs.

    Raises:
        UserError: the file asks for anything else, or is no such dictionary.
    """
    try:
        with path.open("rb") as file:
            _check_bounded(file)
            file.seek(0)
            content = _ArraysOnly(file, encoding="bytes").load()
    except _RefusedError as error:
        raise UserError(
            f"{path} is refused: it asks for Python's '{one_line(str(error))}', which no CIFAR batch needs; get the data "
            "from its official page."
        ) from error
    except OSError:
        raise
    except Exception as error:  # a damaged pickle can fail in any way
        raise UserError(f"{path} is not a CIFAR batch ({type(error).__name__}): unpack the archive again.") from error
    if not isinstance(content, dict):
        raise UserError(f"{path} is not a CIFAR batch (a {type(content).__name__}, not a dictionary): unpack the archive again.")
    return {
        _text(key): value.value if isinstance(value, _Array) else value
        for key, value in content.items()
        if isinstance(key, (str, bytes))
    }


class _RefusedError(Exception):
    pass


def _check_bounded(file: BinaryIO) -> None:
    """Read the operations without doing them, and refuse those with which a small file costs gigabytes, hours or the stack.

    These are high numbers in the memo (it is an array), tuples within tuples many times over (hashing goes through all of
    them), and lengths beyond the end of the file.
    """
    tuples, memo, before = 0, 0, ""
    shared: Set[int] = set()
    for operation, argument, _ in pickletools.genops(file):
        name = operation.name
        tuples += name in _TUPLES
        if name in _NEEDLESS or tuples > _MOST_TUPLES:
            raise pickle.UnpicklingError(name)
        if name == "MEMOIZE" or name.endswith("PUT"):
            index = memo if name == "MEMOIZE" else int(argument or 0)
            if index > _MOST_MEMO:
                raise pickle.UnpicklingError(name)
            memo += name == "MEMOIZE"
            if before in _TUPLES:
                shared.add(index)
        elif name.endswith("GET") and int(argument or 0) in shared:
            raise pickle.UnpicklingError(name)
        if name not in ("MEMOIZE", "PUT", "BINPUT", "LONG_BINPUT", "PROTO", "FRAME"):
            before = name


class _ArraysOnly(pickle.Unpickler):
    """An unpickler for which every name but those of NumPy's array machinery is refused before it is looked up.

    The names admitted lead to stand-ins below, so that not even NumPy's own functions take orders from the file. NumPy 2
    renamed ``numpy.core``; files written by either version name it their way. See "Restricting globals" in Python's
    documentation of pickle.
    """

    def find_class(self, module: str, name: str) -> Any:
        known = f"{module}.{name}".replace("numpy._core.", "numpy.core.")
        if known not in _STAND_INS:
            raise _RefusedError(f"{module}.{name}")
        found = _STAND_INS[known]
        # A function of its own for every use: a pickle can set the attributes of what it is given.
        return (lambda *arguments: found(*arguments)) if isinstance(found, FunctionType) else found


class _Dtype:
    """Stands in for ``numpy.dtype``: numbers only."""

    def __init__(self, spec: Any, *_flags: Any) -> None:
        text = _text(spec) if isinstance(spec, (str, bytes)) else "no text"
        if not re.fullmatch("[biuf][1248]", text):
            raise _RefusedError(f"numpy.dtype({text!r})")
        self.dtype = np.dtype(text)

    def __setstate__(self, state: Tuple[Any, ...]) -> None:
        if state[1] in (">", b">"):  # (version, byte order, ...); the rest is for records
            self.dtype = self.dtype.newbyteorder(">")


class _Array:
    """Stands in for ``numpy.ndarray``; `value` is the array once its state has arrived."""

    value: Optional[np.ndarray] = None

    def fill(self, buffer: bytes, dtype: _Dtype, shape: Tuple[int, ...], order: str) -> _Array:
        self.value = np.frombuffer(buffer, dtype.dtype).reshape(shape, order="F" if order == "F" else "C").copy()
        return self

    def __setstate__(self, state: Tuple[Any, ...]) -> None:
        _version, shape, dtype, fortran, buffer = state
        self.fill(buffer, dtype, shape, "F" if fortran else "C")


def _reconstruct(*_args: Any) -> _Array:
    return _Array()


def _from_buffer(buffer: bytes, dtype: _Dtype, shape: Tuple[int, ...], order: str) -> _Array:
    return _Array().fill(buffer, dtype, shape, order)


def _encode(text: str, encoding: str) -> bytes:
    """How Python 3 writes bytes into old pickles."""
    if encoding != "latin1":
        raise _RefusedError(f"_codecs.encode(..., {encoding!r})")
    return text.encode("latin1")


_STAND_INS: Dict[str, Any] = {
    "numpy.ndarray": None,  # only ever an argument of _reconstruct
    "numpy.dtype": _Dtype,
    "numpy.core.multiarray._reconstruct": _reconstruct,
    "numpy.core.numeric._frombuffer": _from_buffer,
    "_codecs.encode": _encode,
}


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
