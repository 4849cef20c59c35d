"""Corrupted images made here, batch by batch: on several threads, and from the cache where they are in it."""

from __future__ import annotations

from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Callable, Deque, Dict, Generator, Iterable, Iterator, NamedTuple, Optional, Sequence, Tuple, TypeVar

import numpy as np

from gearnn.errors import UserError
from gearnn.robustness.cache import CorruptionCache, Shelf, Writer, digest
from gearnn.robustness.corruptions import ALL_CORRUPTIONS, check, corrupt
from gearnn.robustness.parameters import parameter_set

Task = TypeVar("Task")
Result = TypeVar("Result")

Cell = Tuple[str, int]
"""A corruption and a severity."""


class Batch(NamedTuple):
    """Corrupted images of one cell: uint8 (n, C, H, W), those of ``rows``."""

    cell: Cell
    rows: slice
    images: np.ndarray


class Generated:
    """Corruptions of images, with the published parameters for their size; see `gearnn.robustness.corrupt`.

    Args:
        images: uint8 (N, C, H, W).
        labels: int64 (N,).
        seed: of the corruptions.
        cache: where they are kept; None makes them anew each time.
        workers: threads that make them. OpenCV and NumPy let go of Python's lock in their loops. The result does not depend
            on it.

    Raises:
        UserError: for less than one worker.
    """

    kind = "generated"

    def __init__(
        self, images: np.ndarray, labels: np.ndarray, *, seed: int = 0, cache: Optional[CorruptionCache] = None, workers: int = 1
    ) -> None:
        if workers < 1:
            raise UserError(f"corruptions are made by at least 1 thread, not {workers}")
        self._images, self.labels = images, labels
        self._seed, self._cache, self._workers = seed, cache, workers
        self.parameters = parameter_set(min(images.shape[2:]))

    def check(self, cells: Sequence[Cell]) -> None:
        """Raise UserError unless all can be made."""
        for corruption, severity in cells:
            check(corruption, severity)

    def batches(self, cells: Sequence[Cell], batch_size: int) -> Generator[Batch, None, None]:
        """All images of the first cell in order, then of the next one.

        Never more than a few batches are in memory, whatever the size of the data.
        """
        shelf_of: Dict[Cell, Shelf] = {}
        kept = [cell for cell in cells if cell[0] in ALL_CORRUPTIONS]  # a change in the code of others would go unnoticed
        if self._cache is not None and kept:
            key = digest(self._images, self._seed, self.parameters)
            shelf_of = dict.fromkeys(kept, Shelf(self._cache, key, self._images.shape, kept))
        made = in_order(self._corrupted, _tasks(cells, shelf_of, len(self._images), batch_size), self._workers)
        writer: Optional[Writer] = None
        try:
            for task, images in made:
                if task.cell in shelf_of and task.kept is None:
                    writer = writer or shelf_of[task.cell].writer(*task.cell)
                    writer.add(images)
                    if task.rows.stop == len(self._images):
                        writer.finish()
                        writer = None
                yield Batch(task.cell, task.rows, images)
        finally:
            made.close()
            if writer is not None:
                writer.discard()

    def _corrupted(self, task: _Task) -> np.ndarray:
        if task.kept is not None:
            return np.array(task.kept[task.rows])
        positions = np.arange(task.rows.start, task.rows.stop)
        return corrupt(np.array(self._images[task.rows]), *task.cell, seed=self._seed, indices=positions)


class _Task(NamedTuple):
    cell: Cell
    rows: slice
    kept: Optional[np.ndarray]  # all images of the cell, where the cache has them


def _tasks(cells: Sequence[Cell], shelf_of: Dict[Cell, Shelf], count: int, batch_size: int) -> Iterator[_Task]:
    for cell in cells:
        kept = shelf_of[cell].open(*cell) if cell in shelf_of else None
        for rows in slices(count, batch_size):
            yield _Task(cell, rows, kept)


def slices(count: int, size: int) -> Iterator[slice]:
    """0 … ``count`` in steps of ``size``; the last one may be shorter."""
    for start in range(0, count, size):
        yield slice(start, min(start + size, count))


def in_order(
    function: Callable[[Task], Result], tasks: Iterable[Task], workers: int
) -> Generator[Tuple[Task, Result], None, None]:
    """Each task with its result, in order; more than one worker work ahead on threads, but only by a few tasks."""
    if workers == 1:
        for task in tasks:
            yield task, function(task)
        return
    waiting: Deque[Tuple[Task, Any]] = deque()  # with its future
    with ThreadPoolExecutor(workers) as pool:
        try:
            for task in tasks:
                waiting.append((task, pool.submit(function, task)))
                if len(waiting) > 2 * workers:
                    first, future = waiting.popleft()
                    yield first, future.result()
            while waiting:
                first, future = waiting.popleft()
                yield first, future.result()
        finally:
            for _, future in waiting:
                future.cancel()
