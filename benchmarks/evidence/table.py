"""A table as plain data: what table.json holds and table.md shows."""

from __future__ import annotations

import dataclasses
from typing import Any, Dict, List, Mapping, Sequence

from benchmarks.evidence.attempts import ended, now
from benchmarks.evidence.cells import Cell, State, error_path
from benchmarks.evidence.collect import METRICS, Record, collect
from benchmarks.evidence.published import published_for
from benchmarks.evidence.rows import Row
from benchmarks.evidence.scales import Arena, Scale
from benchmarks.evidence.stats import difference, ratio, spread

Plain = Dict[str, Any]
TIME_REFERENCE = "small-augmix"
"""The row whose training time the others' is given as a multiple of."""


def table_of(scale: Scale, cells: Sequence[Cell], references: Sequence[str], left_out: Sequence[str]) -> Plain:
    """The whole table, of the cells that are finished.

    Args:
        references: rows that every other row is held against, seed by seed, besides the one that it differs from in one thing.
        left_out: what was not run and why, for people.

    Raises:
        UserError: for a torn result.
    """
    arenas: Dict[str, Arena] = {cell.arena.name: cell.arena for cell in cells}
    states: Dict[State, List[Cell]] = {"done": [], "failed": [], "started": [], "missing": []}
    for cell in cells:
        states[cell.state].append(cell)
    records = [collect(cell) for cell in states["done"]]
    return {
        "scale": {"name": scale.name, "summary": scale.summary, "epoch_factor": scale.epochs},
        "written": now(),
        "cells": {
            "asked": len(cells),
            "done": len(states["done"]),
            "not_done": [cell.name for cell in (*states["started"], *states["missing"])],
            "failed": [{"cell": cell.name, "reason": error_path(cell).read_text("utf-8").strip()} for cell in states["failed"]],
        },
        "left_out": list(left_out),
        "conditions": _conditions(records),
        "time_reference": TIME_REFERENCE,
        "arenas": [_arena(scale, arena, cells, records, references) for arena in arenas.values()],
        "records": [dataclasses.asdict(record) for record in records],
    }


def _arena(scale: Scale, arena: Arena, cells: Sequence[Cell], records: Sequence[Record], references: Sequence[str]) -> Plain:
    rows: Dict[str, Row] = {cell.row.name: cell.row for cell in cells if cell.arena.name == arena.name}
    of_row = {name: [record for record in records if (record.arena, record.row) == (arena.name, name)] for name in rows}
    present = {name: found for name, found in of_row.items() if found}
    return {
        "name": arena.name,
        "arch": arena.arch,
        "data": arena.data,
        "dataset": _dataset([record for found in present.values() for record in found]),
        "rows": [_row(rows[name], found, present) for name, found in present.items()],
        "rows_without_a_cell": [name for name in rows if name not in present],
        "differences": _differences(rows, present, references),
        "published": [figures.to_dict() for figures in published_for(arena.arch, arena.data)] if scale.published else [],
    }


def _row(row: Row, records: Sequence[Record], present: Mapping[str, Sequence[Record]]) -> Plain:
    measured = {metric: spread([getattr(record, metric) for record in records]) for metric in METRICS}
    corruptions = {name: spread([record.corruptions.get(name) for record in records]) for name in records[0].corruptions}
    return {
        "row": row.name,
        "label": row.label,
        "preset": row.preset,
        "options": dict(row.options),
        "seeds": [record.seed for record in records],
        "metrics": {name: found.to_dict() if found else None for name, found in measured.items()},
        **_ratios(records, present.get(TIME_REFERENCE, ())),
        "corruptions": {name: found.to_dict() if found else None for name, found in corruptions.items()},
        "phases": [{**phase, **_mean_phase(records, position)} for position, phase in enumerate(records[0].phases)],
        "seed_params": records[0].seed_params,
    }


def _mean_phase(records: Sequence[Record], position: int) -> Plain:
    """Mean seconds of a phase; runs that decide for themselves how often they grow may have fewer."""
    found = spread([record.phases[position]["seconds"] for record in records if len(record.phases) > position])
    return {"seconds": found.mean if found else None}


def _differences(rows: Mapping[str, Row], present: Mapping[str, Sequence[Record]], references: Sequence[str]) -> List[Plain]:
    """Every row against the one that it differs from in one thing, and against the references; in accuracy and time."""
    found = []
    for name, records in present.items():
        for other in dict.fromkeys([rows[name].against, *references]):
            if other is None or other == name or other not in present:
                continue
            against = present[other]
            changes = {
                metric: difference(_by_seed(records, metric), _by_seed(against, metric))
                for metric in ("clean", "robust", "train_seconds")
            }
            found.append(
                {
                    "row": name,
                    "against": other,
                    "one_thing": other == rows[name].against,
                    **{metric: change.to_dict() if change else None for metric, change in changes.items()},
                    **_ratios(records, against),
                }
            )
    return found


def _ratios(records: Sequence[Record], against: Sequence[Record]) -> Plain:
    """Training time over that of other records, seed by seed: on the clock, and of the processor, which others disturb less."""
    found = {}
    for name, metric in (("time_ratio", "train_seconds"), ("cpu_ratio", "cpu_seconds")):
        times = ratio(_by_seed(records, metric), _by_seed(against, metric))
        found[name] = times.to_dict() if times else None
    return found


def _by_seed(records: Sequence[Record], metric: str) -> Dict[int, float]:
    return {record.seed: getattr(record, metric) for record in records}


def _dataset(records: Sequence[Record]) -> Plain:
    """Facts of the data, the same in all cells."""
    if not records:
        return {}
    return {**records[0].dataset, "corruptions": sorted({record.robust_kind for record in records})}


def _conditions(records: Sequence[Record]) -> Plain:
    """Under which the cells ran; values that differ between them are listed all."""
    # Rows may share a run: its attempts count once.
    tried = _distinct([attempt for record in records for attempt in record.attempts])
    loads = [attempt["load"] for attempt in tried if "load" in attempt]
    devices = [{k: v for k, v in record.device.items() if k in _DEVICE} for record in records]
    return {
        "devices": _distinct(devices),
        "versions": {name: _distinct([record.versions.get(name) for record in records]) for name in _names(records)},
        "engines": _distinct([dict(record.engine) for record in records]),
        "from": min((attempt["started"] for attempt in tried), default=None),
        "to": max(map(ended, tried), default=None),
        "revisions": _distinct([attempt["revision"] for attempt in tried if attempt.get("revision")]),
        "wall_seconds": sum(attempt.get("seconds", 0.0) for attempt in tried),
        "processes": len(tried),
        "load": {"least": min(loads), "most": max(loads)} if loads else None,
    }


_DEVICE = ("name", "cores", "platform", "memory_mb", "threads", "training_device")


def _names(records: Sequence[Record]) -> List[str]:
    return list(dict.fromkeys(name for record in records for name in record.versions))


def _distinct(values: Sequence[Any]) -> List[Any]:
    found: List[Any] = []
    for value in values:
        if value not in found:
            found.append(value)
    return found
