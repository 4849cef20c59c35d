"""Cells of a table: where their run folders are, what command fills them, and how far they are."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, Literal, Mapping, Optional, Sequence, Set, Tuple

from benchmarks.evidence.lengths import Result, equalised
from benchmarks.evidence.rows import ROWS, Row
from benchmarks.evidence.scales import DIGITS, Arena, Scale
from gearnn.commands.parsing import parse
from gearnn.commands.run import RunArguments
from gearnn.config import Augmentation, GrowthConfig, RunConfig, to_dict
from gearnn.errors import UserError
from gearnn.files import read_json
from gearnn.presets import preset, resolved

State = Literal["missing", "started", "failed", "done"]
_IGNORED = {"out", "resume", "data"}
_CHOSEN = {"optimizer.batch_size"}  # by the run, where none is named: its configuration holds what was chosen
# What growth and robust training alone read.
_GROWTH = {"grower", "shots", "epochs.regrow"} | {f"growth.{field.name}" for field in dataclasses.fields(GrowthConfig)}
_GROWTH -= {"growth.round_to"}
_ROBUST = {"optimizer.consistency"} | {f"augmentation.{field.name}" for field in dataclasses.fields(Augmentation)}
_ROBUST -= {"augmentation.pad", "augmentation.flip"}


@dataclass(frozen=True)
class Cell:
    """One run of a table. Rows that ask for the same thing share a run: its folder is that of the first of them."""

    arena: Arena
    row: Row
    seed: int
    folder: Path

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.arena.name} {self.row.name} seed {self.seed}"

    @property
    def state(self) -> State:
        """How far it is, by the files in its folder."""
        if (self.folder / "result.json").exists():
            return "done"
        if error_path(self).exists():
            return "failed"
        return "started" if (self.folder / "config.json").exists() else "missing"


def error_path(cell: Cell) -> Path:
    """Where the reason is kept for which a cell has failed."""
    return cell.folder / "error.txt"


def log_path(cell: Cell) -> Path:
    """What the cell's process has written, over all its attempts."""
    return cell.folder / "log.txt"


def cells_of(arenas: Sequence[Arena], rows: Sequence[Row], seeds: Sequence[int], out: Path) -> List[Cell]:
    """All cells in the order in which they run: seeds outermost, so that rows are interleaved and early tables are whole."""
    return [
        Cell(arena, row, seed, out / "cells" / arena.name / home(row).name / f"seed-{seed}")
        for seed in seeds
        for arena in arenas
        for row in rows
    ]


def each_once(cells: Sequence[Cell]) -> List[Cell]:
    """One cell for every folder: rows may share a run."""
    found: Dict[Path, Cell] = {}
    for cell in cells:
        found.setdefault(cell.folder, cell)
    return list(found.values())


def home(row: Row) -> Row:
    """The first row that asks for the same: {"grower": "random"} is nothing new where the preset says so already."""
    return next((other for other in ROWS.values() if _asks(other) == _asks(row)), row)


def _asks(row: Row) -> Tuple[Any, ...]:
    start = preset(row.preset)
    changed = {name: value for name, value in row.options.items() if str(_value(start, name)) != value}
    return row.preset, changed, row.equal, row.sized


def _value(config: Any, option: str) -> Any:
    """A field by the name of its option; None for flags such as "augmentation.no-flip"."""
    for name in option.replace("-", "_").split("."):
        config = getattr(config, name, None)
    return config


def arguments_of(cell: Cell, scale: Scale, data: Mapping[str, Path], results: Mapping[str, Result]) -> Optional[List[str]]:
    """What follows ``gearnn run`` for this cell; None while cells that decide its epochs are not finished.

    Args:
        data: the folders of the data sets, by name.
        results: of the finished cells of the same arena and seed, by row.
    """
    arena, row = cell.arena, cell.row
    epochs = equalised(row, scale.epochs, results)
    if epochs is None:
        return None
    options: Dict[str, str] = {"preset": row.preset, "arch": arena.arch}
    if arena.data != DIGITS:
        options["data"] = str(data[arena.data])
    if row.sized:
        own_budget = any(name.startswith("budget.") for name in row.options)
        options.update({"seed-width": f"{arena.seed_width:g}", **({} if own_budget else arena.budget)})
    limits = {"limit-train": arena.limit_train, "limit-test": arena.limit_test, "threads": scale.threads}
    options.update({name: str(value) for name, value in limits.items() if value is not None})
    options.update({f"epochs.{name}": str(value) for name, value in epochs.items()})
    options.update({"device": scale.device, **arena.options, **row.options})
    options.update({"seed": str(cell.seed), "out": str(cell.folder)})
    return [word for name, value in options.items() for word in ((f"--{name}", value) if value else (f"--{name}",))]


def check_same(cell: Cell, arguments: Sequence[str]) -> None:
    """Refuse a cell that was run, or begun, with other options than it would be now.

    Fields that a configuration did not have yet count as having today's default value; those of growth or of robust training
    do not matter to a run without it.

    Raises:
        UserError: naming an option in which they differ.
    """
    path = cell.folder / "config.json"
    saved = read_json(path)
    if not isinstance(saved, dict):
        raise UserError(f"{path} is not a run's configuration: delete that folder to run the cell again")
    asked = resolved(_parsed(arguments))
    before, now = _flat(saved, to_dict(RunConfig())), _flat(to_dict(asked))
    without = _without(asked)
    for name, value in now.items():
        if name not in without and before.get(name) != value and not (value is None and name in _CHOSEN):
            option = "--" + name.replace("_", "-")
            raise UserError(
                f"{cell.folder} was run with {option} {before.get(name)}, and the table now asks for {value}: choose another "
                "--out, or delete that folder to run the cell again"
            )


def _without(config: RunConfig) -> Set[str]:
    """Fields that have no say in a run."""
    fixed = config.method == "fixed"
    one_phase = {"epochs.era"} if config.method == "gearnn-1" else set()
    return _IGNORED | one_phase | (_GROWTH if fixed else set()) | (_ROBUST if fixed and not config.epochs.era else set())


def _parsed(arguments: Sequence[str]) -> RunConfig:
    chosen = preset(arguments[list(arguments).index("--preset") + 1])
    return parse(RunArguments, list(arguments), "run", RunArguments(chosen)).config


def _flat(config: Mapping[str, Any], default: Optional[Mapping[str, Any]] = None, prefix: str = "") -> Dict[str, Any]:
    """Nested fields by dotted name."""
    found: Dict[str, Any] = {}
    default = default or {}
    for name, value in {**default, **config}.items():
        if isinstance(value, dict):
            found.update(_flat(value, default.get(name) or {}, f"{prefix}{name}."))
        else:
            found[prefix + name] = value
    return found


def finished(cell: Cell) -> Dict[str, Any]:
    """The result of a cell that is done.

    Raises:
        UserError: if its result.json is torn.
    """
    path = cell.folder / "result.json"
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(result, dict) and all(name in result for name in ("networks", "phases", "clean_accuracy")):
            return result
    except ValueError:
        pass
    except OSError as error:
        raise UserError(f"cannot read {path} ({error.strerror or error})") from error
    raise UserError(f"{path} is torn or no result of a run: delete that file, and the cell goes on from its last checkpoint")


def results_beside(cell: Cell, cells: Sequence[Cell]) -> Dict[str, Result]:
    """The results of finished cells that decide how long this one trains, by row."""
    beside = {
        other.row.name: other
        for other in cells
        if other.arena.name == cell.arena.name and other.seed == cell.seed and other.row.name in cell.row.needs
    }
    return {name: finished(other) for name, other in beside.items() if other.state == "done"}


def with_options(scale: Scale, threads: Optional[int], device: Optional[str]) -> Scale:
    """The scale with threads and device that were named on the command line."""
    changes: Dict[str, Any] = {"threads": threads, "device": device}
    return dataclasses.replace(scale, **{name: value for name, value in changes.items() if value is not None})
