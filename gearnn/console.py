"""Progress for people: a bar with an ETA on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from contextlib import contextmanager
from typing import Dict, Iterator

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress

from gearnn.progress import Progress

_SECONDS_BETWEEN_LINES = 10.0


@contextmanager
def console_progress() -> Iterator[Progress]:
    """A `Progress` that writes to standard error, so that standard output stays clean for results."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _Lines()
        return
    columns = (
        TextColumn("{task.description:<24}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with RichProgress(*columns, console=console) as bars:
        tasks: Dict[str, TaskID] = {}

        def show(label: str, done: int, total: int) -> None:
            if label not in tasks:
                tasks[label] = bars.add_task(label, total=total)
            bars.update(tasks[label], completed=done, total=total)

        yield show


def say(line: str) -> None:
    """A line on standard error; above the bars, where there are any."""
    print(line, file=sys.stderr, flush=True)


class _Lines:
    """One line when a task begins, one every ten seconds, and one when it ends."""

    def __init__(self) -> None:
        self.started: Dict[str, float] = {}
        self.last: Dict[str, float] = {}

    def __call__(self, label: str, done: int, total: int) -> None:
        now = time.monotonic()
        begun = self.started.setdefault(label, now)
        if done < total and now - self.last.get(label, -_SECONDS_BETWEEN_LINES) < _SECONDS_BETWEEN_LINES:
            return
        self.last[label] = now
        elapsed = now - begun
        if done >= total:
            remainder = f"done in {_clock(elapsed)}"
            self.started.pop(label)
            self.last.pop(label)
        elif done and elapsed > 1:
            remainder = f"about {_clock(elapsed / done * (total - done))} left"
        else:
            remainder = "started"
        print(f"{label}: {done}/{total}, {remainder}", file=sys.stderr, flush=True)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}"
