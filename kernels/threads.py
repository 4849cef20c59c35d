"""Work shared by plain threads, for compiled functions that let go of Python's lock.

Plain threads, because a pool of OpenMP threads beside torch's own makes both wait actively for a core, and because they may be
used from any number of callers and after a fork. Started without threading.Thread, which would wait for each to run.
"""

from __future__ import annotations

import _thread
import itertools
import os
from typing import Callable, List, Optional


def usable_threads(threads: Optional[int]) -> int:
    """The number asked for, or, for None, one for each core that the process may run on.

    Raises:
        ValueError: below 1.
    """
    if threads is None:
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if not isinstance(threads, int) or threads < 1:
        raise ValueError(f"threads must be at least 1 and a whole number, got {threads!r}.")
    return threads


def in_parts(work: Callable[[int, int], None], count: int, threads: int, parts_per_thread: int = 8) -> None:
    """Call ``work(start, stop)`` until all of range(count) is done, in parts that idle threads take one after the other.

    Raises:
        Exception: the first that a part raised, once all threads have stopped.
    """
    threads = max(1, min(threads, count))
    if threads == 1:
        work(0, count)
        return
    size = -(-count // (threads * parts_per_thread))
    starts = itertools.count(0, size)  # next() is atomic
    errors: List[BaseException] = []

    def take() -> None:
        try:
            for start in starts:
                if start >= count or errors:
                    return
                work(start, min(start + size, count))
        except BaseException as error:  # handed to the caller's thread
            errors.append(error)

    helpers = [_thread.allocate_lock() for _ in range(threads - 1)]
    job = [take]
    try:
        for busy in helpers:
            _thread.start_new_thread(_help_out, (busy, job))
    except RuntimeError:
        pass  # no more threads are to be had: those there are do all of it
    take()
    for busy in helpers:
        busy.acquire()
    job.clear()
    if errors:
        raise errors[0]


def _help_out(busy: _thread.LockType, job: List[Callable[[], None]]) -> None:
    """Do the job, unless all was done before this thread began.

    The thread holds nothing of the caller's once the caller goes on: were it to free the last reference to a tensor while the
    interpreter ends, torch's destructor would wait for Python's lock in vain, and the process would abort.
    """
    if busy.acquire(False):
        try:
            job[0]()
        finally:
            busy.release()
