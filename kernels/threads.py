"""Work shared by plain threads, for compiled functions that let go of Python's lock.

Plain threads, because a pool of OpenMP threads beside torch's own makes both wait actively for a core, and because they may be
used from any number of callers and after a fork. They are kept for the next call, since starting one takes a tenth of a
millisecond and more; each starts without threading.Thread, which would wait for it to run.
"""

from __future__ import annotations

import _thread
import itertools
import os
from typing import Callable, List, Optional, Tuple


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

    job = [take]
    asked: List[_thread.LockType] = []
    try:
        while len(asked) < threads - 1:
            asked.append(_idle_helper().ask(job))
    except RuntimeError:
        pass  # no more threads are to be had: those there are do all of it
    take()
    for busy in asked:
        busy.acquire()
    job.clear()
    if errors:
        raise errors[0]


class _Helper:
    """A thread that does one job after the other, and between them waits in ``_idle``.

    It holds nothing of the caller's once the caller goes on: were it to free the last reference to a tensor while the interpreter
    ends, torch's destructor would wait for Python's lock in vain, and the process would abort.
    """

    _task: Tuple[_thread.LockType, List[Callable[[], None]]]

    def __init__(self) -> None:
        self.process = os.getpid()
        self._wake = _thread.allocate_lock()
        self._wake.acquire()
        _thread.start_new_thread(self._help_out, ())

    def ask(self, job: List[Callable[[], None]]) -> _thread.LockType:
        """Have ``job`` done, holding the lock that is returned, unless that has been taken before the thread is awake."""
        busy = _thread.allocate_lock()
        self._task = busy, job
        self._wake.release()
        return busy

    def _help_out(self) -> None:
        kept = True
        while kept:
            self._wake.acquire()
            busy, job = self._task
            begun = busy.acquire(False)
            try:
                if begun:
                    job[0]()
            finally:
                del self._task, job
                kept = len(_idle) < (os.cpu_count() or 1)
                if kept:  # before the caller goes on, so that its next call finds this thread
                    _idle.append(self)
                if begun:
                    busy.release()


_idle: List[_Helper] = []  # append and pop are atomic


def _idle_helper() -> _Helper:
    try:
        while True:
            helper = _idle.pop()
            if helper.process == os.getpid():  # threads do not survive a fork
                return helper
    except IndexError:
        return _Helper()
