"""Many images -> rows of one uint8 array, at one size and with one number of channels."""

from __future__ import annotations

import os
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path
from typing import Counter as CounterType
from typing import List, NamedTuple, Optional, Sequence, Tuple, Union

import numpy as np

from gearnn.engine.images import Header, UnreadableImageError, fit_array, read_header, read_image
from gearnn.progress import Progress

SMALLEST, LARGEST, FALLBACK_SIZE = 16, 224, 64
_SAMPLE = 64  # headers looked at before decoding
# Below this many pixels an image takes longer in Python than in Pillow's C code: a second thread then only hides the
# latency of the disk, and more of them wait for each other.
_WORTH_MORE_THREADS = 256 * 256
_IN_FLIGHT = 2**30  # bytes that all threads together may need for images being decoded, at 8 per pixel

Images = Union[np.ndarray, List[Path]]


class Format(NamedTuple):
    """What every image becomes: uint8 (channels, size, size). ``native`` if all of them have that size already."""

    size: int
    channels: int
    native: bool


class FormatChangedError(Exception):
    """An image did not fit the format that the sample suggested; decode again with `better`."""

    def __init__(self, better: Format) -> None:
        super().__init__(better)
        self.better = better


@dataclass
class Outcome:
    """What came up while decoding: rows that could not be read, with the reason, and the modes of the files."""

    unreadable: List[Tuple[int, str]] = field(default_factory=list)
    modes: CounterType[str] = field(default_factory=Counter)


def choose_format(parts: Sequence[Images], image_size: Optional[int]) -> Tuple[Format, int]:
    """The format for all of ``parts``, and how many threads decode best.

    Without ``image_size``: the images' own size if all are squares of one size from 16 to 224, else 64. One channel if all
    are grey, else three. Of files only a sample of headers is read here; `decode` raises `FormatChangedError` where the
    others tell differently.
    """
    headers: List[Header] = []
    for images in parts:
        if isinstance(images, np.ndarray):
            _, channels, height, width = images.shape
            headers.append(Header(width, height, "L" if channels == 1 else "RGB"))
            continue
        for index in np.unique(np.linspace(0, len(images) - 1, min(_SAMPLE, len(images))).astype(int)):
            try:
                headers.append(read_header(images[index]))
            except UnreadableImageError:
                continue
    channels = 1 if headers and all(header.grey for header in headers) else 3
    sizes = {(header.width, header.height) for header in headers}
    width, height = next(iter(sizes)) if len(sizes) == 1 else (0, 1)
    native = width == height and SMALLEST <= width <= LARGEST and image_size is None
    size = width if native else image_size or FALLBACK_SIZE
    pixels = np.median([header.width * header.height for header in headers]) if headers else 0
    workers = 2 if pixels < _WORTH_MORE_THREADS else min(8, max(2, os.cpu_count() or 2))
    largest = max((header.width * header.height for header in headers), default=1)
    return Format(size, channels, native), max(1, min(workers, _IN_FLIGHT // (8 * max(1, largest))))


def decode(images: Images, form: Format, out: np.ndarray, progress: Progress, label: str, workers: int) -> Outcome:
    """Decode ``images`` into ``out``, uint8 (N, channels, size, size), row by row in the same order.

    Rows of unreadable files keep whatever was in ``out``; the outcome names them.

    Raises:
        FormatChangedError: ``form`` was a guess from a sample, and an image does not fit it.
    """
    total = len(images)
    step = max(1, -(-total // 100))
    stop = threading.Event()
    outcome = Outcome()
    progress(label, 0, total)

    def rows(start: int) -> Tuple[int, Outcome]:
        return start, _decode_rows(images, form, out, range(start, min(start + step, total)), stop)

    with ThreadPoolExecutor(workers) as pool:
        try:
            done = 0
            for future in as_completed([pool.submit(rows, start) for start in range(0, total, step)]):
                start, part = future.result()
                outcome.unreadable += part.unreadable
                outcome.modes += part.modes
                done += min(step, total - start)
                progress(label, done, total)
        finally:
            stop.set()
    outcome.unreadable.sort()
    return outcome


def _decode_rows(images: Images, form: Format, out: np.ndarray, rows: range, stop: threading.Event) -> Outcome:
    outcome = Outcome()
    for row in rows:
        if stop.is_set():
            break
        item = images[row]
        if isinstance(item, np.ndarray):
            out[row] = fit_array(item, form.size, form.channels)
            continue
        try:
            pixels, header = read_image(item, form.size, form.channels)
        except UnreadableImageError as error:
            outcome.unreadable.append((row, str(error)))
            continue
        if form.channels == 1 and not header.grey:
            raise FormatChangedError(form._replace(channels=3))
        if form.native and (header.width, header.height) != (form.size, form.size):
            raise FormatChangedError(form._replace(size=FALLBACK_SIZE, native=False))
        outcome.modes[header.mode] += 1
        out[row] = pixels
    return outcome
