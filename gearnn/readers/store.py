"""Where decoded images live: in memory when they fit, else in a file that is decoded once and mapped."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import time
import warnings
from collections import Counter
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from gearnn.errors import UserError
from gearnn.progress import Progress
from gearnn.readers.decode import LARGEST, SMALLEST, Format, FormatChangedError, Images, Outcome, choose_format, decode

_LABEL = "reading images"
_VERSION = "1"  # part of every cache key: raise it when decoding changes
_ABANDONED_S = 24 * 3600


class Stored(NamedTuple):
    """``images``: one uint8 array (n_kept, C, size, size) per part; ``outcome`` counts rows over all parts in order."""

    images: List[np.ndarray]
    form: Format
    outcome: Outcome
    streamed_from: Optional[Path]


def store(
    parts: Sequence[Images], image_size: Optional[int], memory_limit_mb: int, cache_dir: Optional[Path], progress: Progress
) -> Stored:
    """Bring all parts to one format, in memory or in a mapped file under ``cache_dir``.

    Unreadable files leave no gap: the rows behind them move up.

    Raises:
        UserError: the disk has no room for the file, or the cache folder cannot be written.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, on files that are damaged or too large: the outcome tells of those
        form, workers = choose_format(parts, image_size)
        while True:
            try:
                return _store(parts, form, workers, image_size, memory_limit_mb * 2**20, cache_dir, progress)
            except FormatChangedError as change:
                form = change.better


def _store(
    parts: Sequence[Images],
    form: Format,
    workers: int,
    image_size: Optional[int],
    limit: int,
    cache_dir: Optional[Path],
    progress: Progress,
) -> Stored:
    counts = [len(images) for images in parts]
    shape = (sum(counts), form.channels, form.size, form.size)
    fits = _bytes(shape) <= limit
    if fits and all(isinstance(images, np.ndarray) and images.shape[1:] == shape[1:] for images in parts):
        return Stored([np.asarray(images) for images in parts], form, Outcome(), None)
    if fits:
        out = np.empty(shape, dtype=np.uint8)
        outcome = _decode_all(parts, form, out, progress, workers)
        return Stored(_split(out, counts, outcome), form, outcome, None)
    folder = _cache_folder(cache_dir) / _key(parts, image_size)
    index = _read_index(folder, shape[0])
    if index is None:
        _write(folder, parts, form, shape, progress, workers)
        index = _read_index(folder, shape[0])
        assert index is not None
    form = Format(*index["form"])
    outcome = Outcome([(row, reason) for row, reason in index["unreadable"]], Counter(index["modes"]))
    kept = (shape[0] - len(outcome.unreadable), form.channels, form.size, form.size)
    mapped = np.memmap(folder / "images.u8", dtype=np.uint8, mode="r", shape=kept) if kept[0] else np.empty(kept, np.uint8)
    return Stored(_cut(mapped, counts, outcome), form, outcome, folder)


def _read_index(folder: Path, total: int) -> Optional[Dict[str, Any]]:
    """What is known of the ``total`` decoded images in ``folder``; None if they are not there or not whole."""
    try:
        index: Dict[str, Any] = json.loads((folder / "index.json").read_text(encoding="utf-8"))
        whole = _sound(index, total) and (folder / "images.u8").stat().st_size >= index["bytes"]
    except (OSError, ValueError, RecursionError):
        whole = False
    if whole:
        return index
    shutil.rmtree(folder, ignore_errors=True)
    return None


def _sound(index: Any, total: int) -> bool:
    """True if ``index`` is what `_write` writes for ``total`` images."""
    try:
        size, channels, native = index["form"]
        rows = [row for row, _ in index["unreadable"]]
        numbers = [size, channels, index["bytes"], *rows, *index["modes"].values()]
        return (
            all(type(number) is int and number >= 0 for number in numbers)
            and SMALLEST <= size <= LARGEST
            and channels in (1, 3)
            and isinstance(native, bool)
            and index["bytes"] == _bytes((total, channels, size, size))
            and all(row < total for row in rows)
            and all(one < other for one, other in zip(rows, rows[1:]))
            and all(isinstance(reason, str) for _, reason in index["unreadable"])
        )
    except (TypeError, KeyError, ValueError, AttributeError):
        return False


def _write(folder: Path, parts: Sequence[Images], form: Format, shape: Tuple[int, ...], progress: Progress, workers: int) -> None:
    """Decode into a temporary folder and rename it, so that what lies under the final name is always whole."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        _sweep(folder.parent)
        free = shutil.disk_usage(folder.parent).free
        if _bytes(shape) > free:
            raise UserError(
                f"The decoded images need {_bytes(shape) / 2**20:,.0f} MiB but {folder.parent} has {free / 2**20:,.0f} MiB free: "
                "make room, choose a smaller image size, or limit the number of images."
            )
        partial = Path(tempfile.mkdtemp(prefix=f"{folder.name}.partial-", dir=str(folder.parent)))
    except OSError as error:
        raise UserError(
            f"The cache folder {folder.parent} cannot be written ({error.strerror}): set XDG_CACHE_HOME elsewhere."
        ) from error
    try:
        _reserve(partial / "images.u8", _bytes(shape))
        out = np.memmap(partial / "images.u8", dtype=np.uint8, mode="r+", shape=shape)
        outcome = _decode_all(parts, form, out, progress, workers)
        _close_gaps(out, outcome)
        out.flush()
        del out
        index = {"bytes": _bytes(shape), "form": list(form), "unreadable": outcome.unreadable, "modes": dict(outcome.modes)}
        with (partial / "index.json").open("w", encoding="utf-8") as file:
            json.dump(index, file)
            file.flush()
            os.fsync(file.fileno())
        try:
            os.replace(partial, folder)  # noqa: PTH105
        except OSError:
            if _read_index(folder, shape[0]) is None:  # else another process was faster, with the same content
                raise
    except OSError as error:
        raise UserError(
            f"The decoded images could not be written to {folder.parent} ({error.strerror or error}): make room, or set "
            "XDG_CACHE_HOME elsewhere."
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _decode_all(parts: Sequence[Images], form: Format, out: np.ndarray, progress: Progress, workers: int) -> Outcome:
    if all(isinstance(images, list) for images in parts):
        return decode([path for images in parts for path in images], form, out, progress, _LABEL, workers)
    start = 0
    for images in parts:
        decode(images, form, out[start : start + len(images)], progress, _LABEL, workers)
        start += len(images)
    return Outcome()


def _split(out: np.ndarray, counts: List[int], outcome: Outcome) -> List[np.ndarray]:
    _close_gaps(out, outcome)
    return _cut(out, counts, outcome)


def _close_gaps(out: np.ndarray, outcome: Outcome) -> None:
    """Move rows up over the unreadable ones, in place: the array may be as large as memory."""
    bad = [row for row, _ in outcome.unreadable]
    for gap, (first, last) in enumerate(zip(bad, [*bad[1:], len(out)])):
        for row in range(first + 1, last):
            out[row - gap - 1] = out[row]


def _cut(out: np.ndarray, counts: List[int], outcome: Outcome) -> List[np.ndarray]:
    bad = np.array([row for row, _ in outcome.unreadable], dtype=np.int64)
    ends = np.cumsum(counts)
    kept = [int(end - np.count_nonzero(bad < end)) for end in ends]
    return [out[start:end] for start, end in zip([0, *kept], kept)]


def _key(parts: Sequence[Images], image_size: Optional[int]) -> str:
    """A name for this content: paths, sizes and times of the files (or the arrays' bytes) and the size asked for."""
    digest = hashlib.blake2b(f"{_VERSION} {image_size}".encode(), digest_size=16)
    for images in parts:
        digest.update(f"|{len(images)}|".encode())
        if isinstance(images, np.ndarray):
            digest.update(str(images.shape).encode())
            digest.update(np.ascontiguousarray(images).data)
            continue
        for path in images:
            digest.update(os.fsencode(path.absolute()))
            try:
                status = path.stat()
                digest.update(f"|{status.st_size}|{status.st_mtime_ns}|".encode())
            except (OSError, ValueError):  # a name that no file can have
                digest.update(b"|missing|")
    return digest.hexdigest()


def _cache_folder(cache_dir: Optional[Path]) -> Path:
    if cache_dir is not None:
        return Path(cache_dir).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gearnn"


def _reserve(path: Path, size: int) -> None:
    """Give the file its blocks now: a mapped file that meets a full disk later kills the process without a message."""
    with path.open("wb") as file:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, size)
        else:
            file.truncate(size)


def _sweep(folder: Path) -> None:
    """Remove what a power cut left behind."""
    for partial in folder.glob("*.partial-*"):
        try:
            newest = max(path.stat().st_mtime for path in (partial, *partial.iterdir()))
        except OSError:  # its process is just done with it
            continue
        if time.time() - newest > _ABANDONED_S:
            shutil.rmtree(partial, ignore_errors=True)


def _bytes(shape: Tuple[int, ...]) -> int:
    total = 1
    for side in shape:
        total *= side
    return total
