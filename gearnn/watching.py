"""How far a run is, from the files in its folder; nothing there is touched, and torch is not needed."""

from __future__ import annotations

import time
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Callable, Dict, List, Literal, Mapping, Optional, Tuple

from gearnn.config import Augmentation, Budget, Epochs, GrowthConfig, Optimizer, RunConfig
from gearnn.engine.errors import printable
from gearnn.engine.json_text import parse_json
from gearnn.errors import UserError
from gearnn.files import read_json
from gearnn.lock import at_work
from gearnn.phases import Phase, phases_of
from gearnn.quantities import parse_duration
from gearnn.report.record import items, mapping, number, text
from gearnn.report.stored import read_text

Row = Mapping[str, Any]

_CHECKPOINTS = ("last.safetensors", "previous.safetensors")  # in the folder "checkpoint"
_LARGEST = 1 << 26  # bytes of metrics.jsonl, or of a checkpoint's header
_PARTS: Dict[str, Any] = {
    "epochs": Epochs, "budget": Budget, "growth": GrowthConfig, "augmentation": Augmentation, "optimizer": Optimizer,
}  # fmt: skip
_RECENT = 3  # epochs whose mean time stands for those to come


@dataclass(frozen=True)
class PhaseStatus:
    """One phase, as far as it is.

    Attributes:
        name, kind: as in `gearnn.phases.Phase`.
        state: "done", "running" (or stopped in the midst of it), "waiting" or "left out" (where growth ended early).
        epochs: planned; None where the clock decides, or if the plan is not known.
        done: epochs that are finished.
        seconds: of training or growing so far.
        loss, train_accuracy, test_accuracy: of its last epoch, accuracies as fractions.
    """

    name: str
    kind: str
    state: Literal["done", "running", "waiting", "left out"]
    epochs: Optional[float]
    done: float
    seconds: float
    loss: Optional[float] = None
    train_accuracy: Optional[float] = None
    test_accuracy: Optional[float] = None


@dataclass(frozen=True)
class Status:
    """A run at a moment.

    Attributes:
        state: "running", "finished" (it has its result), or "stopped" (no process is at work and there is no result).
        process: who is at work: pid, host, and the time when it began; None if nobody is.
        activity: what is being done, or was when it stopped: a phase's name; "preparing" before the first; "measuring" after the
            last; "finished".
        epoch, epochs: of the phase in progress: the one that is finished, and how many there will be.
        seconds_left: of training, by the last epochs; None if that cannot be told.
        at_least: growth lies ahead, after which epochs take longer by an amount that is not known.
        seconds_since: since the last epoch ended.
        rows: of metrics.jsonl.
        clean_accuracy, robust_accuracy: of the final network, once they are measured.
    """

    folder: str
    state: Literal["running", "finished", "stopped"]
    process: Optional[Dict[str, Optional[str]]]
    arch: Optional[str]
    method: Optional[str]
    activity: str
    epoch: int
    epochs: Optional[float]
    seconds_left: Optional[float]
    at_least: bool
    seconds_since: Optional[float]
    phases: Tuple[PhaseStatus, ...]
    rows: Tuple[Row, ...]
    clean_accuracy: Optional[float]
    robust_accuracy: Optional[float]


def read_status(folder: Path, now: Optional[float] = None) -> Status:
    """Look at a run; ``now`` are seconds since 1970.

    Raises:
        UserError: if the folder is none of a run.
    """
    holder = at_work(folder)  # before the files: a run that ends in between still has its result
    known = (folder / "config.json").is_file()
    if not known and holder is None:
        raise UserError(f"there is no run in {folder}: give the folder that gearnn run writes to with --out")
    config = mapping(read_json(folder / "config.json")) if known else {}
    result = mapping(read_json(folder / "result.json")) if (folder / "result.json").is_file() else {}
    rows, progression, plan = _rows(folder), _progression(folder), _plan(config)
    phases = _phases(plan, rows, progression)
    current = next((phase for phase in phases if phase.state == "running"), None)
    state: Literal["running", "finished", "stopped"] = "running" if holder else "finished" if result else "stopped"
    since = _seconds_since(folder / "metrics.jsonl", time.time() if now is None else now)
    left, at_least = _left(config, plan, rows, phases, progression)
    return Status(
        folder=str(folder),
        state=state,
        process=None if holder is None else {name: _word(holder.get(name)) for name in ("pid", "host", "since")},
        arch=_word(config.get("arch")),
        method=_word(config.get("method")),
        activity=state if state == "finished" else current.name if current else "measuring" if phases else "preparing",
        epoch=int(current.done) if current else 0,
        epochs=current.epochs if current else None,
        seconds_left=None if left is None or state != "running" else max(0.0, left - (since or 0.0)),
        at_least=at_least,
        seconds_since=since,
        phases=phases,
        rows=rows,
        clean_accuracy=number(result.get("clean_accuracy")),
        robust_accuracy=number(result.get("robust_accuracy")),
    )


def follow(folder: Path, interval: float, show: Callable[[Status], None], sleep: Callable[[float], None] = time.sleep) -> Status:
    """Show a run's status now and every ``interval`` seconds until no process is at work; returns the last one."""
    while True:
        status = read_status(folder)
        show(status)
        if status.state != "running":
            return status
        sleep(interval)


def _word(found: Any) -> Optional[str]:
    """Text that may go to a terminal."""
    plain = text(found)
    return None if plain is None else printable(plain)


def _rows(folder: Path) -> Tuple[Row, ...]:
    """The legible rows of metrics.jsonl, of epochs that have a phase's name."""
    try:
        lines = read_text(folder / "metrics.jsonl", _LARGEST).splitlines()
    except (OSError, ValueError):
        return ()
    found = []
    for line in lines:
        try:
            row = mapping(parse_json(line))
        except ValueError:
            continue
        if text(row.get("phase")) and number(row.get("epoch")) is not None:
            found.append({name: _word(value) if isinstance(value, str) else _finite(value) for name, value in row.items()})
    return tuple(found)


def _finite(found: Any) -> Any:
    """A number as it is; None for anything else."""
    return None if number(found) is None else found


def _progression(folder: Path) -> Mapping[str, Any]:
    """How far the last legible checkpoint is, by its header alone; empty if there is none."""
    for name in _CHECKPOINTS:
        try:
            with (folder / "checkpoint" / name).open("rb") as stream:
                length = int.from_bytes(stream.read(8), "little")
                header = parse_json(stream.read(min(length, _LARGEST)).decode("utf-8"))
            return mapping(parse_json(header["__metadata__"]["progression"]))
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return {}


def _plan(config: Mapping[str, Any]) -> List[Phase]:
    """The phases of a run by its config.json; none if another version of this tool wrote it."""
    known = {entry.name for entry in fields(RunConfig)}
    try:
        parts = {name: kind(**config[name]) for name, kind in _PARTS.items()}
        return phases_of(RunConfig(**{**{name: value for name, value in config.items() if name in known}, **parts}))
    except (KeyError, TypeError, ValueError, AttributeError, UserError):
        return []


def _phases(plan: List[Phase], rows: Tuple[Row, ...], progression: Mapping[str, Any]) -> Tuple[PhaseStatus, ...]:
    """Every phase of the plan; without a plan, those that rows are there of."""
    records = {text(record.get("name")): record for record in map(mapping, items(progression.get("phases")))}
    last = rows[-1]["phase"] if rows else None
    names = [phase.name for phase in plan] or list(dict.fromkeys(row["phase"] for row in rows))
    reached = number(progression.get("phase"))
    current = int(reached) if reached is not None else names.index(last) if last in names else 0
    found = []
    for index, name in enumerate(names):
        own = [row for row in rows if row["phase"] == name]
        record, row = mapping(records.get(name)), own[-1] if own else {}
        phase = plan[index] if plan else None
        over = record or (own and index < current)
        found.append(
            PhaseStatus(
                name=name,
                kind=phase.kind if phase else "train",
                state="done" if over else "running" if index == current else "waiting" if index > current else "left out",
                epochs=number(row.get("epochs")) if row else float(phase.epochs) if phase else None,
                done=float(len(own)) if own or not record else number(record.get("epochs")) or 0.0,
                seconds=number(record.get("seconds")) or sum(number(each.get("seconds")) or 0.0 for each in own),
                loss=number(row.get("loss")),
                train_accuracy=number(row.get("train_accuracy")),
                test_accuracy=number(row.get("test_accuracy")),
            )
        )
    return tuple(found)


def _left(
    config: Mapping[str, Any],
    plan: List[Phase],
    rows: Tuple[Row, ...],
    phases: Tuple[PhaseStatus, ...],
    progression: Mapping[str, Any],
) -> Tuple[Optional[float], bool]:
    """Seconds from the last row on, and whether growth lies ahead; an epoch takes as long as views have to be looked at."""
    limit, elapsed = text(mapping(config.get("budget")).get("train_time")), number(progression.get("elapsed"))
    if limit is not None:
        return (None if elapsed is None else max(0.0, parse_duration(limit, "train_time") - elapsed)), False
    views = {phase.name: phase.views for phase in plan}
    if not rows or rows[-1]["phase"] not in views:
        return None, False
    last = rows[-1]["phase"]
    recent = [number(row.get("seconds")) or 0.0 for row in rows if row["phase"] == last][-_RECENT:]
    each = sum(recent) / len(recent) / views[last]
    ahead = [phase for phase in phases if phase.state in ("running", "waiting")]
    trained = [phase for phase in ahead if phase.kind != "grow"]
    left = sum(each * views[phase.name] * max(0.0, (phase.epochs or 0.0) - phase.done) for phase in trained)
    return left, any(phase.kind == "grow" for phase in ahead)


def _seconds_since(path: Path, now: float) -> Optional[float]:
    try:
        return max(0.0, now - path.stat().st_mtime)
    except OSError:
        return None
