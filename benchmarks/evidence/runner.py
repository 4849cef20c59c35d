"""Runs the cells that are missing, each in a process of its own; ends cleanly, and loses nothing when it cannot."""

from __future__ import annotations

import contextlib
import ctypes
import ctypes.util
import fcntl
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable, Dict, Iterator, List, Mapping, Optional, Sequence, TextIO

from benchmarks.evidence.attempts import Attempt
from benchmarks.evidence.cells import Cell, arguments_of, check_same, each_once, error_path, log_path, results_beside
from benchmarks.evidence.scales import Scale
from benchmarks.evidence.watch import Watch
from gearnn.errors import UserError
from gearnn.files import write_text

_POLL_SECONDS = 0.2
_GRACE_SECONDS = 10.0
_HEARTBEAT_SECONDS = 10.0
_TAIL_BYTES = 4000


class Stopped(Exception):  # noqa: N818 - no error: a person or the system has asked for it
    """A signal has ended the harness."""

    def __init__(self, number: int) -> None:
        super().__init__(f"ended by {signal.Signals(number).name}")
        self.number = number


@dataclass
class Outcome:
    """What became of the cells of a call."""

    ran: List[Cell] = field(default_factory=list)
    failed: Dict[str, str] = field(default_factory=dict)
    """Cell → why."""
    waiting: List[Cell] = field(default_factory=list)
    """Cells whose epochs are decided by cells that did not finish."""


@dataclass
class _Job:
    cell: Cell
    process: subprocess.Popen[bytes]
    attempt: Attempt
    lock: TextIO


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Keep other harnesses off a folder. The system lifts the lock with the process that holds it, however that ends.

    Raises:
        UserError: if another one is at work there, or the folder cannot be written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = _locked(folder / "lock")
    except OSError as error:
        raise UserError(f"cannot write to {folder} ({error.strerror or error}): choose another --out") from error
    if lock is None:
        holder = (folder / "lock").read_text(encoding="utf-8").strip() or "unknown"
        raise UserError(
            f"another harness is at work in {folder} (process {holder}): wait for it, end it, or choose another --out"
        )
    with lock:
        yield


def _locked(path: Path) -> Optional[TextIO]:
    """The open file with an exclusive lock and this process's number in it; None if another process holds it."""
    lock = path.open("a+", encoding="utf-8")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        return None
    lock.truncate(0)
    lock.write(f"{os.getpid()}\n")
    lock.flush()
    return lock


def run_cells(
    cells: Sequence[Cell],
    scale: Scale,
    data: Mapping[str, Path],
    *,
    jobs: int,
    retry: bool,
    watch: Watch,
    finished: Callable[[], object],
) -> Outcome:
    """Run what is missing, ``jobs`` at a time, in the order given; ``finished`` is called after every cell that ends.

    A cell that its process could not finish is not tried again in this call, one that failed only with ``retry``. A process
    that was killed has not failed: its cell goes on in the next call.

    Raises:
        UserError: for a cell that was run with other options.
        Stopped: after SIGINT or SIGTERM; the processes have been ended then.
    """
    outcome = Outcome()
    running: List[_Job] = []
    waiting = [cell for cell in each_once(cells) if cell.state != "done" and (retry or cell.state != "failed")]
    watch.begin(waiting)
    with _signals_noted() as signals:
        try:
            while waiting or running:
                if signals:
                    raise Stopped(signals[0])
                for cell in list(waiting):
                    if len(running) >= jobs:
                        break
                    arguments = arguments_of(cell, scale, data, results_beside(cell, cells))
                    if arguments is not None:
                        waiting.remove(cell)
                        running.append(_start(cell, arguments, outcome))
                        watch.started(cell)
                if not running:
                    break
                time.sleep(_POLL_SECONDS)
                watch.look([(job.cell, job.attempt) for job in running])
                for job in list(running):
                    job.attempt.beat(_HEARTBEAT_SECONDS)
                    if job.process.poll() is not None:
                        running.remove(job)
                        _end(job, outcome)
                        watch.ended(job.cell, outcome.failed.get(job.cell.name), job.attempt)
                        finished()
        finally:
            _stop(running)
    outcome.waiting = waiting
    return outcome


def command(arguments: Sequence[str]) -> List[str]:
    """A cell's command line."""
    return [sys.executable, "-m", "gearnn", "run", *arguments]


def _start(cell: Cell, arguments: Sequence[str], outcome: Outcome) -> _Job:
    """Begin a cell or go on with it. Its process holds a lock on the folder: two never work on one cell."""
    error_path(cell).unlink(missing_ok=True)
    resumed = cell.state == "started"
    if resumed:
        check_same(cell, arguments)
    try:
        cell.folder.mkdir(parents=True, exist_ok=True)
        lock = _locked(cell.folder / "lock")
    except OSError as error:
        raise UserError(f"cannot write to {cell.folder} ({error.strerror or error}): choose another --out") from error
    if lock is None:
        raise UserError(f"a process of an earlier call is still at work in {cell.folder}: wait for it or end it")
    environment = {name: value for name, value in os.environ.items() if name != "GEARNN_DATA"}
    with log_path(cell).open("ab") as log:
        process = subprocess.Popen(
            command([*arguments, *(["--resume"] if resumed else [])]),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
            pass_fds=(lock.fileno(),),
            preexec_fn=_ends_with(os.getpid()),
        )
    outcome.ran.append(cell)
    return _Job(cell, process, Attempt.start(cell.folder), lock)


def _ends_with(parent: int) -> Optional[Callable[[], None]]:
    """What makes a process die with its parent, where the system can do that (Linux): a killed harness leaves none behind."""
    if not sys.platform.startswith("linux"):
        return None
    prctl = ctypes.CDLL(ctypes.util.find_library("c") or None).prctl

    def arrange() -> None:
        prctl(1, int(signal.SIGKILL))  # PR_SET_PDEATHSIG
        if os.getppid() != parent:
            os._exit(1)

    return arrange


def _end(job: _Job, outcome: Outcome) -> None:
    """Note how a process ended."""
    job.lock.close()
    job.attempt.end()
    code = job.process.returncode
    if job.cell.state == "done":
        return
    if code < 0:
        outcome.failed[job.cell.name] = f"killed by signal {-code}; the next call goes on with it"
        return
    reason = _last_words(log_path(job.cell)) or f"exit code {code} and no message"
    outcome.failed[job.cell.name] = reason
    write_text(error_path(job.cell), reason + "\n")


def _last_words(log: Path) -> str:
    """The message that a process ended with, from its log."""
    lines = log.read_bytes()[-_TAIL_BYTES:].decode("utf-8", "replace").splitlines()
    said = [line for line in lines if line.strip()]
    errors = [line for line in said if line.startswith("error: ")]
    return (errors or said or [""])[-1].replace("error: ", "", 1).strip()


def _stop(running: Sequence[_Job]) -> None:
    """End processes: politely, then at once."""
    for job in running:
        _signal(job, signal.SIGTERM)
    deadline = time.monotonic() + _GRACE_SECONDS
    for job in running:
        with contextlib.suppress(subprocess.TimeoutExpired):
            job.process.wait(max(0.0, deadline - time.monotonic()))
        _signal(job, signal.SIGKILL)
        job.process.wait()
        job.attempt.end()
        job.lock.close()


def _signal(job: _Job, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(job.process.pid, number)


@contextlib.contextmanager
def _signals_noted() -> Iterator[List[int]]:
    """SIGINT and SIGTERM are noted and do nothing else: no process is lost between its start and its being written down."""
    seen: List[int] = []
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, lambda number, frame: seen.append(number)) for number in numbers}
    try:
        yield seen
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
