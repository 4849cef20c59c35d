"""The harness's command line: which table, where, and how far it is to be taken."""

from __future__ import annotations

import os
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, List, Optional, Sequence, Tuple

import tyro
from typing_extensions import Annotated

from benchmarks.evidence.cells import Cell, arguments_of, cells_of, check_same, each_once, results_beside, with_options
from benchmarks.evidence.markdown import render
from benchmarks.evidence.plots import available, draw
from benchmarks.evidence.rows import ROWS, Row, rows_named
from benchmarks.evidence.runner import Outcome, Stopped, alone, command, run_cells
from benchmarks.evidence.scales import DIGITS, SCALES, Arena, Scale, scale_named
from benchmarks.evidence.table import Plain, table_of
from benchmarks.evidence.watch import Watch
from gearnn.commands.parsing import print_json
from gearnn.errors import UserError
from gearnn.files import write_json, write_text


@dataclass(frozen=True)
class EvidenceArguments:
    """Run a table of whole runs, rows × seeds, and write it down: table.md, table.json and pictures in --out.

    Every cell is a run folder. What is finished is never run again and what was begun goes on, however the last call ended:
    repeat the command. The table is written anew after every cell.

    Examples:

      python -m benchmarks.evidence --scale smoke --out runs/smoke

      python -m benchmarks.evidence --scale cpu-small --data cifar10=cifar10/ --out runs/evidence

      python -m benchmarks.evidence --scale cpu-small --data cifar10=cifar10/ --out runs/evidence --rows gearnn-2 gearnn-2-views-2

      python -m benchmarks.evidence --scale cpu-small --data cifar10=cifar10/ --out runs/evidence --rows found --table-only
    """

    scale: str = "cpu-small"
    """cpu-small, cpu, jetson or paper; smoke shows that the harness works."""
    out: Path = Path("runs/evidence")
    """Folder of the cells and of the table."""
    data: Annotated[Tuple[str, ...], tyro.conf.arg(metavar="NAME=PATH ...")] = ()
    """Where data sets are: cifar10=PATH, cifar100=PATH, tiny-imagenet=PATH. $GEARNN_DATA counts as cifar10."""
    rows: Tuple[str, ...] = ()
    """Rows by name; by default the scale's. "found" stands for all that --out has cells of, "all" for every row there is."""
    arenas: Tuple[str, ...] = ()
    """Some of the scale's pairs of network and data set; by default all whose data are given."""
    seeds: Tuple[int, ...] = ()
    """By default the scale's."""
    reference: Tuple[str, ...] = ("small-augmix", "clean-then-era")
    """Rows that every other is held against."""
    jobs: int = 1
    """Cells that run at a time. Times of cells that share a machine are not those of a machine of their own."""
    threads: Optional[int] = None
    """CPU threads of each cell; by default the scale's."""
    device: Optional[str] = None
    """auto, cpu or cuda; by default the scale's."""
    retry: bool = False
    """Run cells again that have failed."""
    dry_run: bool = False
    """Print the commands of the cells that would run, and do nothing."""
    list: bool = False
    """List scales and rows."""
    table_only: bool = False
    """Write the table of what is there, and run nothing."""
    json: bool = False
    """Print table.json on standard output at the end."""


def main(arguments: Sequence[str]) -> int:
    """Returns 0 when every cell asked for is done, 1 when some are not, 2 for what the user can put right, 130 after Ctrl-C."""
    options = tyro.cli(
        EvidenceArguments, args=list(arguments), prog="python -m benchmarks.evidence", description=EvidenceArguments.__doc__
    )
    try:
        if options.list:
            print(listing())
            return 0
        return _table(options)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from here", file=sys.stderr)
        return 130
    except Stopped as stopped:
        print(f"{stopped}; the same command goes on from here", file=sys.stderr)
        return 128 + stopped.number


def _table(options: EvidenceArguments) -> int:
    scale = with_options(scale_named(options.scale), options.threads, options.device)
    if options.jobs < 1:
        raise UserError(f"--jobs must be at least 1, not {options.jobs}")
    data = paths_of(options.data)
    arenas, left_out = _arenas(scale, options.arenas, data, needed=not options.table_only)
    rows = _rows(options, scale, arenas)
    cells = cells_of(arenas, rows, options.seeds or scale.seeds, options.out.absolute())
    rows_named(options.reference)
    _check(cells, scale, data)
    if options.dry_run:
        print("\n".join(_commands(cells, scale, data)))
        return 0
    with alone(options.out):
        outcome = Outcome()

        def write() -> Plain:
            return write_table(table_of(scale, cells, options.reference, left_out), options.out)

        if not options.table_only:
            watch = Watch(cells, options.jobs)
            for line in left_out:
                print(line, file=sys.stderr)
            outcome = run_cells(cells, scale, data, jobs=options.jobs, retry=options.retry, watch=watch, finished=write)
        table = write()
    if options.json:
        print_json(table)
    else:
        print(f"Table: {options.out / 'table.md'}")
    return _verdict(table, outcome)


def _verdict(table: Plain, outcome: Outcome) -> int:
    """What is still open, in words and as an exit code."""
    for failure in table["cells"]["failed"]:
        print(f"failed: {failure['cell']}: {failure['reason']} (--retry runs it again)", file=sys.stderr)
    for cell in outcome.waiting:
        print(f"not run: {cell.name}: its length is decided by {' and '.join(cell.row.needs)}", file=sys.stderr)
    left = table["cells"]["asked"] - table["cells"]["done"]
    if left:
        print(f"{left} of {table['cells']['asked']} cells are not done", file=sys.stderr)
    return 1 if left else 0


def write_table(table: Plain, out: Path) -> Plain:
    """table.json, the pictures and table.md, each whole or not at all."""
    if available():
        plots = draw(table, out)
    else:
        plots = []
        table["left_out"].append("pictures: pip install matplotlib")
    write_json(out / "table.json", table)
    write_text(out / "table.md", render(table, plots))
    return table


def paths_of(named: Sequence[str]) -> Dict[str, Path]:
    """The folders of data sets by name, $GEARNN_DATA's as cifar10.

    Raises:
        UserError: for one that is not NAME=PATH, has an unknown name, or does not exist.
    """
    known = sorted({arena.data for scale in SCALES.values() for arena in scale.arenas} - {DIGITS})
    found: Dict[str, Path] = {}
    fallback = os.environ.get("GEARNN_DATA")
    for text in ([f"cifar10={fallback}"] if fallback else []) + list(named):
        name, equals, path = text.partition("=")
        if not equals or name not in known:
            raise UserError(f"--data takes NAME=PATH with NAME one of {', '.join(known)}, not {text!r}: --data cifar10=cifar10/")
        found[name] = Path(path).expanduser().absolute()
    for name, folder in found.items():
        if not folder.exists():
            raise UserError(f"there is nothing at {folder}, named for the data set {name}: correct --data or $GEARNN_DATA")
    return found


def _arenas(scale: Scale, chosen: Sequence[str], data: Dict[str, Path], needed: bool) -> Tuple[Tuple[Arena, ...], List[str]]:
    """The arenas to run and what is left out; those chosen by name must have their data."""
    names = [arena.name for arena in scale.arenas]
    for name in chosen:
        if name not in names:
            raise UserError(f"--scale {scale.name} has no arena called {name!r}: choose from {', '.join(names)}")
    asked = [arena for arena in scale.arenas if not chosen or arena.name in chosen]
    usable = [arena for arena in asked if arena.data == DIGITS or arena.data in data or not needed]
    absent = [arena for arena in asked if arena not in usable]
    if absent and (chosen or not usable):
        raise UserError(
            f"--scale {scale.name} needs the data set {absent[0].data}: name its folder with --data {absent[0].data}=PATH"
        )
    return tuple(usable), [f"{arena.name}: no --data {arena.data}=PATH was given" for arena in absent]


def _rows(options: EvidenceArguments, scale: Scale, arenas: Sequence[Arena]) -> Tuple[Row, ...]:
    if "found" not in options.rows:
        return rows_named(options.rows or scale.rows)
    # Rows that share a run have one folder; the first of them stands for it.
    there = [name for name in ROWS if any((options.out / "cells" / arena.name / name).is_dir() for arena in arenas)]
    rows = rows_named([*there, *(name for name in options.rows if name != "found")])
    if not rows:
        raise UserError(f"there are no cells of --scale {scale.name} in {options.out}: run some first, or correct --out")
    return rows


def _check(cells: Sequence[Cell], scale: Scale, data: Dict[str, Path]) -> None:
    """Refuse a table with cells that were run with other options."""
    for cell in cells:
        if (cell.folder / "config.json").exists():
            arguments = arguments_of(cell, scale, _any(data, cell), results_beside(cell, cells))
            if arguments is not None:
                check_same(cell, arguments)


def _any(data: Dict[str, Path], cell: Cell) -> Dict[str, Path]:
    """Where the data lie does not matter to what has been run."""
    return {cell.arena.data: Path(cell.arena.data), **data}


def _commands(cells: Sequence[Cell], scale: Scale, data: Dict[str, Path]) -> List[str]:
    lines = []
    for cell in each_once(cells):
        if cell.state == "done":
            continue
        arguments = arguments_of(cell, scale, _any(data, cell), results_beside(cell, cells))
        if arguments is None:
            lines.append(f"# {cell.name}: its epochs are known once {' and '.join(cell.row.needs)} are done")
        else:
            words = command([*arguments, *(["--resume"] if cell.state == "started" else [])])
            lines.append(" ".join(shlex.quote(word) for word in words))
    return lines


def listing() -> str:
    """Scales with their rows, and every row."""
    width = max(map(len, (*ROWS, *SCALES)))
    lines = ["scales:"]
    for scale in SCALES.values():
        lines += [f"  {scale.name:<{width}}  {scale.summary}", f"  {'':<{width}}  rows: {' '.join(scale.rows)}"]
    return "\n".join([*lines, "", "rows:", *(f"  {row.name:<{width}}  {row.label}" for row in ROWS.values())])
