"""Generated corruptions kept on disk, so that the next network meets the very same images at no cost.

One file holds one corruption at one severity: a ``.npy`` array, uint8 (N, C, H, W), followed by the CRC-32 of its pixels in four
bytes. Its name is a digest of all that the pixels follow from.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import shutil
import tempfile
import time
import warnings
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Dict, Optional, Sequence, Set, Tuple

import numpy as np

DEFAULT_LIMIT = 4 * 10**9
_SUFFIX = ".corrupted"
_PARTIAL = ".partial-"
_ABANDONED_S = 24 * 3600
_CHECKSUM_BYTES = 4
_OVERHEAD = 256  # bytes of a file that are not pixels, at most
_EVALUATION = ("__init__", "benchmark", "cache", "generated", "official", "report", "scores")  # all but the corruptions


@dataclass(frozen=True)
class CorruptionCache:
    """A folder for generated corruptions; nobody else's files should be in it.

    Attributes:
        folder: made when first written to. If it cannot be written, nothing is kept, and a warning says so.
        limit: bytes that the files may take up; those not used for longest are removed first.
    """

    folder: Path
    limit: int = DEFAULT_LIMIT


def corruption_cache(choice: str = "auto", limit: int = DEFAULT_LIMIT) -> Optional[CorruptionCache]:
    """The cache that a person asked for.

    Args:
        choice: a folder; "off"; or "auto": $GEARNN_CORRUPTION_CACHE, which may be either, else ``gearnn/corruptions`` in
            XDG_CACHE_HOME or ``~/.cache``.
        limit: see `CorruptionCache`.
    """
    if choice == "auto":
        home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        choice = os.environ.get("GEARNN_CORRUPTION_CACHE") or str(home / "gearnn" / "corruptions")
    return None if choice == "off" else CorruptionCache(Path(choice).expanduser(), limit)


def digest(images: np.ndarray, *facts: object) -> str:
    """Of uint8 images (N, C, H, W), in their order, and of whatever else the corrupted images follow from."""
    found = hashlib.sha256(repr((images.shape, str(images.dtype), code_version(), *facts)).encode())
    for start in range(0, len(images), 1024):
        found.update(np.ascontiguousarray(images[start : start + 1024]).data)
    return found.hexdigest()


def code_version() -> str:
    """Changes with the source of the corruptions and with the libraries that they call."""
    import cv2
    import PIL
    import scipy

    found = hashlib.sha256(
        repr((np.__version__, scipy.__version__, cv2.__version__, PIL.__version__, platform.machine())).encode()
    )
    for source in sorted(Path(__file__).parent.glob("*.py")):
        if source.stem not in _EVALUATION:
            found.update(source.name.encode() + source.read_bytes())
    return found.hexdigest()


class Shelf:
    """The files of one benchmark in a cache.

    Args:
        cache: where they lie.
        key: digest of the images and of whatever else decides, but the corruption and the severity.
        shape: (N, C, H, W) of every file.
        cells: (corruption, severity) of every file that will be asked for.
    """

    def __init__(self, cache: CorruptionCache, key: str, shape: Tuple[int, ...], cells: Sequence[Tuple[str, int]]) -> None:
        self._folder, self._key, self._shape = cache.folder, key, shape
        self._writable = True
        try:
            self._make_room(cache.limit, {self._path(*cell) for cell in cells})
        except OSError as error:
            self._give_up(error.strerror or str(error))

    def open(self, corruption: str, severity: int) -> Optional[np.ndarray]:
        """The images, mapped, uint8 (N, C, H, W) read-only; None if they are not there or not whole."""
        path = self._path(corruption, severity)
        if not path.is_file():
            return None
        try:
            images: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
            with path.open("rb") as file:
                file.seek(-_CHECKSUM_BYTES, os.SEEK_END)
                checksum = file.read()
        except Exception:  # absent, or damaged: NumPy and zipfile have many words for that
            return None
        if (
            not isinstance(images, np.ndarray)
            or images.shape != self._shape
            or images.dtype != np.uint8
            or not images.flags.c_contiguous
        ):
            return None
        # A file that was cut short ends with pixels instead.
        if zlib.crc32(images.data).to_bytes(_CHECKSUM_BYTES, "little") != checksum:
            return None
        with contextlib.suppress(OSError):  # a folder that can only be read serves too
            os.utime(path)
        return images

    def writer(self, corruption: str, severity: int) -> Writer:
        """For the file that `open` did not find."""
        path = self._path(corruption, severity) if self._writable else None
        return Writer(path, self._shape, self._give_up)

    def _path(self, corruption: str, severity: int) -> Path:
        return self._folder / f"{self._key[:40]}-{corruption}-{severity}{_SUFFIX}"

    def _make_room(self, limit: int, wanted: Set[Path]) -> None:
        """Remove what was not used for longest until all that is wanted fits; keep nothing if it never does."""
        size = int(np.prod(self._shape)) + _OVERHEAD
        if size * len(wanted) > limit:
            self._give_up(f"{size * len(wanted) / 1e9:.1f} GB are more than its limit of {limit / 1e9:.1f} GB")
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        _sweep(self._folder)
        here = _files(self._folder)
        missing = size * len(wanted - set(here))
        total = missing + sum(status.st_size for status in here.values())
        for path in sorted(set(here) - wanted, key=lambda path: here[path].st_mtime):
            if total <= limit:
                break
            path.unlink(missing_ok=True)
            total -= here[path].st_size
        free = shutil.disk_usage(str(self._folder)).free
        if missing > free / 2:
            self._give_up(f"{missing / 1e9:.1f} GB would take more than half of the {free / 1e9:.1f} GB that are free")

    def _give_up(self, why: str) -> None:
        if self._writable:
            text = f"the corrupted images are not kept in {self._folder}: {why}"
            warnings.warn(text, RuntimeWarning, stacklevel=2)
        self._writable = False


class Writer:
    """Writes one file whole or not at all, batch by batch; a disk that fails ends the writing, and nothing else.

    Args:
        path: of the file; None writes nothing.
        shape: of all its images.
        failed: told why, if it cannot be written.
    """

    def __init__(self, path: Optional[Path], shape: Tuple[int, ...], failed: Callable[[str], None]) -> None:
        self._path, self._shape, self._failed = path, shape, failed
        self._partial: Optional[Path] = None
        self._checksum = 0

    def add(self, images: np.ndarray) -> None:
        """The next images, uint8 (n, C, H, W)."""
        if self._path is None:
            return
        try:
            if self._partial is None:
                self._partial = self._begin(self._path.parent)
            with self._partial.open("ab") as file:
                file.write(images.data)
            self._checksum = zlib.crc32(images.data, self._checksum)
        except OSError as error:
            self._fail(error)

    def finish(self) -> None:
        """After the last image: put the file where it will be found."""
        if self._path is None or self._partial is None:
            return
        try:
            with self._partial.open("ab") as file:
                file.write(self._checksum.to_bytes(_CHECKSUM_BYTES, "little"))
            os.replace(self._partial, self._path)  # noqa: PTH105
            self._partial = None
        except OSError as error:
            self._fail(error)

    def discard(self) -> None:
        """Leave nothing behind, unless it is finished."""
        if self._partial is not None:
            with contextlib.suppress(OSError):
                self._partial.unlink()
        self._path = self._partial = None

    def _begin(self, folder: Path) -> Path:
        handle, name = tempfile.mkstemp(dir=str(folder), prefix=_PARTIAL)
        self._partial = Path(name)
        with os.fdopen(handle, "wb") as file:
            np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": self._shape})
        return self._partial

    def _fail(self, error: OSError) -> None:
        self._failed(error.strerror or str(error))
        self.discard()


def _files(folder: Path) -> Dict[Path, os.stat_result]:
    found = {}
    for path in folder.glob(f"*{_SUFFIX}"):
        with contextlib.suppress(FileNotFoundError):  # removed by another process
            found[path] = path.stat()
    return found


def _sweep(folder: Path) -> None:
    """Remove what a power cut left behind."""
    for partial in folder.glob(f"{_PARTIAL}*"):
        with contextlib.suppress(OSError):
            if time.time() - partial.stat().st_mtime > _ABANDONED_S:
                partial.unlink()
