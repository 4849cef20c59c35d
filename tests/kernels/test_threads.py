"""Parts of work on plain threads: all of it, once, errors included."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
import weakref

import numpy as np
import pytest

from gearnn.kernels.threads import in_parts, usable_threads


@pytest.mark.parametrize(("count", "threads"), [(0, 2), (1, 4), (7, 2), (100, 3), (1000, 1)])
def test_every_item_is_done_once(count: int, threads: int) -> None:
    done = np.zeros(count, int)

    def work(start: int, stop: int) -> None:
        done[start:stop] += 1

    in_parts(work, count, threads)
    assert (done == 1).all()


def test_all_threads_take_part() -> None:
    names = set()
    gate = threading.Barrier(3, timeout=20)

    def work(start: int, stop: int) -> None:
        if start < 3:
            gate.wait()
        names.add(threading.get_ident())

    in_parts(work, 3, 3)
    assert len(names) == 3


def test_an_error_in_any_thread_reaches_the_caller() -> None:
    def work(start: int, stop: int) -> None:
        if start >= 40:
            raise ArithmeticError("in part")

    with pytest.raises(ArithmeticError, match="in part"):
        in_parts(work, 64, 2)


def test_an_error_of_a_helper_alone_reaches_the_caller() -> None:
    caller = threading.get_ident()
    failed = threading.Event()

    def work(start: int, stop: int) -> None:
        if threading.get_ident() != caller:
            failed.set()
            raise ArithmeticError("in a helper")
        failed.wait(20)

    with pytest.raises(ArithmeticError, match="in a helper"):
        in_parts(work, 64, 2)


def test_a_slow_helper_is_waited_for() -> None:
    caller = threading.get_ident()
    helped = threading.Event()
    done = np.zeros(16, int)

    def work(start: int, stop: int) -> None:
        if threading.get_ident() != caller:
            helped.set()
            time.sleep(0.2)
        else:
            helped.wait(20)
        done[start:stop] += 1

    in_parts(work, 16, 2)
    assert (done == 1).all()


def test_where_no_thread_can_be_started_the_caller_does_all(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object) -> int:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr("_thread.start_new_thread", refuse)
    done = np.zeros(50, int)

    def work(start: int, stop: int) -> None:
        done[start:stop] += 1

    in_parts(work, 50, 4)
    assert (done == 1).all()


def test_a_thread_that_begins_late_keeps_nothing_of_the_callers(monkeypatch: pytest.MonkeyPatch) -> None:
    late = []
    monkeypatch.setattr("_thread.start_new_thread", lambda *task: late.append(task))
    done = np.zeros(50, int)

    def work(start: int, stop: int) -> None:
        done[start:stop] += 1

    alive = weakref.ref(work)
    in_parts(work, 50, 3)
    del work
    assert alive() is None
    for function, arguments in late:
        function(*arguments)
    assert len(late) == 2 and (done == 1).all()


def test_a_process_may_end_while_threads_still_begin() -> None:
    program = """
import numpy as np, sys, torch
from gearnn.kernels.threads import in_parts

def augment():
    tensors = [torch.from_numpy(np.ones(100000)) for _ in range(200)]
    in_parts(lambda start, stop, held=tensors: None, 300, 300)

sys.setswitchinterval(1e-5)
augment()
"""
    for _ in range(3):
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


def test_thread_counts() -> None:
    assert usable_threads(3) == 3
    assert usable_threads(None) >= 1
    with pytest.raises(ValueError, match="at least 1 and a whole number, got 0"):
        usable_threads(0)
