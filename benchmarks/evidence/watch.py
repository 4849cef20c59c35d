"""Progress for people: a line per cell with the time that is left, and on a terminal what the running ones are at."""

from __future__ import annotations

import sys
from typing import Callable, Dict, List, Optional, Sequence, Tuple

from benchmarks.evidence.attempts import Attempt, attempts
from benchmarks.evidence.cells import Cell, log_path

Say = Callable[[str], None]
_CLEAR = "\r\033[K"


def seconds_of(cell: Cell) -> float:
    """What a cell has taken so far, over all its attempts."""
    return sum(float(attempt.get("seconds", 0.0)) for attempt in attempts(cell.folder))


def expected(cell: Cell, measured: Sequence[Tuple[Cell, float]]) -> Optional[float]:
    """Seconds of a cell, from those measured: of the same row, else of the same arena, else of any; None if there are none."""
    arena = [(other, seconds) for other, seconds in measured if other.arena.name == cell.arena.name]
    row = [(other, seconds) for other, seconds in arena if other.row.name == cell.row.name]
    for found in (row, arena, measured):
        if found:
            return sum(seconds for _, seconds in found) / len(found)
    return None


def in_words(seconds: float) -> str:
    """3h05m, 12m30s, 45s."""
    whole = round(seconds)
    if whole >= 3600:
        return f"{whole // 3600}h{whole % 3600 // 60:02d}m"
    return f"{whole // 60}m{whole % 60:02d}s" if whole >= 60 else f"{whole}s"


class Watch:
    """Tells how the cells of a call go."""

    def __init__(self, cells: Sequence[Cell], jobs: int) -> None:
        self.jobs = jobs
        self.done = [(cell, seconds_of(cell)) for cell in cells if cell.state == "done"]
        self.left: List[Cell] = []
        self.total = 0
        self.live = sys.stderr.isatty()
        self.sizes: Dict[str, int] = {}

    def begin(self, cells: Sequence[Cell]) -> None:
        """The cells that are to be run."""
        self.left, self.total = list(cells), len(cells)
        self._say(f"{len(self.done)} cells are done, {self.total} are to be run, {self.jobs} at a time{self._eta()}")

    def started(self, cell: Cell) -> None:
        """A process has begun."""
        self._say(f"[{self.total - len(self.left) + 1}/{self.total}] {cell.name}: started")

    def ended(self, cell: Cell, failure: Optional[str], attempt: Attempt) -> None:
        """A process has ended."""
        self.left.remove(cell)
        if failure is None:
            self.done.append((cell, seconds_of(cell)))
        how = f"not finished: {failure}" if failure else "done"
        self._say(f"{cell.name}: {how}, after {in_words(attempt.seconds)}; {len(self.left)} left{self._eta()}")

    def look(self, running: Sequence[Tuple[Cell, Attempt]]) -> None:
        """On a terminal, one line that is written over: what the processes said last."""
        if not self.live:
            return
        shown = []
        for cell, attempt in running:
            with log_path(cell).open("rb") as log:
                log.seek(0, 2)
                log.seek(max(0, log.tell() - 300))
                lines = log.read().decode("utf-8", "replace").splitlines()
            shown.append(f"{cell.row.name} seed {cell.seed} {in_words(attempt.seconds)}: {(lines or [''])[-1].strip()}")
        sys.stderr.write(_CLEAR + " | ".join(shown)[:118])
        sys.stderr.flush()

    def _eta(self) -> str:
        estimates = [expected(cell, self.done) for cell in self.left]
        known = [seconds for seconds in estimates if seconds is not None]
        return f", about {in_words(sum(known) / self.jobs)} to go" if known else ""

    def _say(self, text: str) -> None:
        print((_CLEAR if self.live else "") + text, file=sys.stderr, flush=True)
