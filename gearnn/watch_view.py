"""A run's status for people: a table with curves on a terminal, a line for each event elsewhere."""

from __future__ import annotations

from typing import Dict, List, Optional, Sequence

from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from gearnn.report.record import number
from gearnn.watching import PhaseStatus, Row, Status

_BLOCKS, _PLAIN = "▁▂▃▄▅▆▇█", "_.-=*#"
_MOST = 60  # epochs in a curve, one character each
_STYLES = {"done": "green", "running": "bold cyan", "waiting": "dim", "left out": "dim"}


def table(status: Status, console: Console) -> Group:
    """What a terminal shows: where the run is, its phases, and the curves of loss and accuracy over all epochs."""
    phases = Table(box=None, padding=(0, 2, 0, 0))
    for title in ("phase", "epochs", "time", "loss", "train", "test"):
        phases.add_column(title, justify="left" if title == "phase" else "right", header_style="dim")
    for phase in status.phases:
        cells = (phase.name, _epochs(phase), clock(phase.seconds) if phase.seconds else "", *_figures(phase))
        phases.add_row(*(Text(cell, _STYLES[phase.state]) for cell in cells))
    unicode = (console.encoding or "").lower().startswith("utf")
    curves = [
        Text(f"{name:<14} {sparkline([number(row.get(key)) for row in status.rows], unicode)}")
        for name, key in (("loss", "loss"), ("test accuracy", "test_accuracy"))
        if len(status.rows) > 1
    ]
    return Group(Text(headline(status), "bold"), Text(""), phases, Text(""), *curves)


def headline(status: Status) -> str:
    """Where the run is, in a line."""
    what = f"{status.folder} ({status.arch}, {status.method})" if status.arch else status.folder
    if status.state == "finished":
        return f"{what}: finished{_outcome(status)}"
    if status.state == "stopped":
        return f"{what}: stopped while {_doing(status)}, no process is at work: go on with --resume"
    process: Dict[str, Optional[str]] = status.process or {}
    parts = [f"{what}: {_doing(status)}", _remaining(status), f"process {process.get('pid')} on {process.get('host')}"]
    if status.seconds_since is not None:
        parts.append(f"last epoch {clock(status.seconds_since)} ago")
    return ", ".join(part for part in parts if part)


def events(status: Status) -> List[str]:
    """Everything that has happened, a line each, in order: epochs, and phases of growth."""
    lines = []
    for phase in status.phases:
        if phase.kind == "grow" and phase.state == "done":
            lines.append(f"{phase.name}: done in {clock(phase.seconds)}")
        lines += [_epoch(row) for row in status.rows if row["phase"] == phase.name]
    return lines


class Lines:
    """Prints what is new since the last look."""

    def __init__(self) -> None:
        self._shown: List[str] = []

    def __call__(self, status: Status) -> None:
        found = events(status)
        kept = 0
        while kept < min(len(found), len(self._shown)) and found[kept] == self._shown[kept]:
            kept += 1
        if kept < len(self._shown):
            print("went back to an earlier epoch", flush=True)
        for line in found[kept:]:
            print(line, flush=True)
        self._shown = found


def sparkline(values: Sequence[Optional[float]], unicode: bool = True) -> str:
    """Values as characters of different heights, the last of each group where there are too many; "" for none."""
    known = [value for value in values if value is not None]
    count = min(len(known), _MOST)
    chosen = [known[(place + 1) * len(known) // count - 1] for place in range(count)]
    levels = _BLOCKS if unicode else _PLAIN
    low, range_ = min(chosen, default=0.0), max(chosen, default=0.0) - min(chosen, default=0.0)
    return "".join(levels[round((value - low) / range_ * (len(levels) - 1)) if range_ else 0] for value in chosen)


def clock(seconds: float) -> str:
    """75 → 1:15; 3725 → 1:02:05."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def _doing(status: Status) -> str:
    planned = f"/{status.epochs:g}" if status.epochs is not None else ""
    running = next((phase for phase in status.phases if phase.state == "running"), None)
    if running is None or running.kind == "grow":
        return status.activity
    return f"{status.activity}, {status.epoch}{planned} epochs done"


def _remaining(status: Status) -> str:
    if status.seconds_left is None:
        return ""
    return f"{'at least' if status.at_least else 'about'} {clock(status.seconds_left)} of training left"


def _outcome(status: Status) -> str:
    clean, robust = status.clean_accuracy, status.robust_accuracy
    return f", clean {clean:.1%}, robust {robust:.1%}" if clean is not None and robust is not None else ""


def _epochs(phase: PhaseStatus) -> str:
    if phase.kind == "grow":
        return "" if phase.state == "running" else phase.state
    planned = f"/{phase.epochs:g}" if phase.epochs is not None else ""
    return "left out" if phase.state == "left out" else f"{phase.done:g}{planned}"


def _figures(phase: PhaseStatus) -> List[str]:
    return ["" if phase.loss is None else f"{phase.loss:.3f}", _percent(phase.train_accuracy), _percent(phase.test_accuracy)]


def _percent(fraction: Optional[float]) -> str:
    return "" if fraction is None else f"{fraction:.1%}"


def _epoch(row: Row) -> str:
    epochs, loss, seconds = number(row.get("epochs")), number(row.get("loss")), number(row.get("seconds"))
    parts = [
        "" if loss is None else f"loss {loss:.3f}",
        *(
            f"{name} {value:.1%}"
            for name, value in (("train", number(row.get("train_accuracy"))), ("test", number(row.get("test_accuracy"))))
            if value is not None
        ),
        "" if seconds is None else f"{seconds:.1f} s",
    ]
    planned = "" if epochs is None else f"/{epochs:g}"
    return f"{row['phase']} {row['epoch']:g}{planned}: {', '.join(part for part in parts if part)}"
