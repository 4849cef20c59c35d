"""Parts of work on plain threads: all of it, once, errors included."""

from __future__ import annotations

import _thread
import gc
import os
import signal
import subprocess
import sys
import threading
import time
import weakref
from typing import Any, List

import numpy as np
import pytest

from gearnn.kernels import threads
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

    monkeypatch.setattr(threads, "_idle", [])
    monkeypatch.setattr("_thread.start_new_thread", refuse)
    done = np.zeros(50, int)

    def work(start: int, stop: int) -> None:
        done[start:stop] += 1

    in_parts(work, 50, 4)
    assert (done == 1).all()


def test_a_thread_that_begins_late_keeps_nothing_of_the_callers(monkeypatch: pytest.MonkeyPatch) -> None:
    late = []
    start_new_thread = _thread.start_new_thread
    idle: List[Any] = []
    monkeypatch.setattr(threads, "_idle", idle)
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    monkeypatch.setattr("_thread.start_new_thread", lambda *task: late.append(task))
    done = np.zeros(50, int)

    def work(start: int, stop: int) -> None:
        done[start:stop] += 1

    alive = weakref.ref(work)
    in_parts(work, 50, 3)
    del work
    assert alive() is None
    for task in late:
        start_new_thread(*task)
    end = time.monotonic() + 20
    while len(idle) < 2 and time.monotonic() < end:
        time.sleep(0.01)
    assert len(late) == len(idle) == 2 and (done == 1).all()


def test_threads_are_kept_for_the_next_call(monkeypatch: pytest.MonkeyPatch) -> None:
    started = []
    start_new_thread = _thread.start_new_thread

    def start(*task: Any) -> int:
        started.append(task)
        return start_new_thread(*task)

    monkeypatch.setattr(threads, "_idle", [])
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    monkeypatch.setattr("_thread.start_new_thread", start)
    for _ in range(5):
        gate = threading.Barrier(3, timeout=20)
        in_parts(lambda start, stop, gate=gate: gate.wait(), 3, 3)  # type: ignore[misc]
    assert len(started) == 2


def test_no_more_threads_are_kept_than_there_are_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    idle: List[Any] = []
    monkeypatch.setattr(threads, "_idle", idle)
    monkeypatch.setattr("os.cpu_count", lambda: 3)
    gate = threading.Barrier(8, timeout=20)
    in_parts(lambda start, stop: gate.wait(), 8, 8)  # type: ignore[arg-type]
    assert len(idle) == 3


def test_each_caller_has_helpers_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    done = np.zeros((4, 3), int)

    def call(row: int) -> None:
        for _ in range(50):
            gate = threading.Barrier(3, timeout=20)  # all three parts at the same time

            def work(start: int, stop: int, gate: threading.Barrier = gate) -> None:
                gate.wait()
                done[row, start:stop] += 1

            in_parts(work, 3, 3)

    monkeypatch.setattr("os.cpu_count", lambda: 8)
    callers = [threading.Thread(target=call, args=(row,)) for row in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(60)
    assert (done == 50).all()


def test_nothing_is_kept_of_a_call_that_was_interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Interrupted as by Ctrl-C, to which a program that a shell has started in the background is deaf."""
    monkeypatch.setattr(threads, "_idle", [])
    caller, helping = threading.get_ident(), threading.Event()
    before = signal.signal(signal.SIGINT, signal.default_int_handler)

    def work(start: int, stop: int) -> None:
        if threading.get_ident() == caller:
            helping.wait(20)
        elif not helping.is_set():
            helping.set()
            time.sleep(0.2)  # the caller has done the rest by then, and waits
            signal.pthread_kill(caller, signal.SIGINT)
            time.sleep(0.2)

    alive = weakref.ref(work)
    try:
        with pytest.raises(KeyboardInterrupt):
            in_parts(work, 8, 2)
    finally:
        signal.signal(signal.SIGINT, before)
    del work
    end = time.monotonic() + 20
    while alive() is not None and time.monotonic() < end:
        time.sleep(0.01)
        gc.collect()
    assert alive() is None


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system cannot fork")
def test_a_fork_starts_threads_of_its_own() -> None:
    program = """
import os, sys, threading
from gearnn.kernels.threads import in_parts

def helpers():
    gate, present = threading.Barrier(3, timeout=20), set()
    def work(start, stop):
        present.add(threading.get_ident())
        gate.wait()
    in_parts(work, 3, 3)
    return present - {threading.get_ident()}

assert len(helpers()) == 2
child = os.fork()
if not child:
    os._exit(0 if len(helpers()) == 2 else 1)
sys.exit(os.waitpid(child, 0)[1] != 0)
"""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", program], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


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
