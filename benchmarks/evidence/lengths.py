"""How many epochs each phase of a cell gets: the preset's, scaled, or as many as cost what another cell has cost."""

from __future__ import annotations

import math
from typing import Any, Dict, List, Literal, Mapping, Optional

from benchmarks.evidence.rows import Row
from gearnn.errors import UserError
from gearnn.presets import preset

Epochs = Dict[str, int]
"""Field of ``--epochs`` → epochs."""
Result = Mapping[str, Any]
"""The contents of a result.json."""

_FIELDS = {"gearnn-2": ("seed", "regrow", "era"), "gearnn-1": ("seed", "regrow"), "fixed": ("seed", "era")}


def scaled(epochs: float, factor: float) -> int:
    """At least 1 unless there are none; halves go up."""
    return max(1, math.floor(epochs * factor + 0.5)) if epochs else 0


def usual(row: Row, factor: float) -> Epochs:
    """The epochs of the row's preset at a scale."""
    start = preset(row.preset)
    method = row.options.get("method", start.method)
    return {name: scaled(getattr(start.epochs, name), factor) for name in _FIELDS[method]}


def equalised(row: Row, factor: float, results: Mapping[str, Result]) -> Optional[Epochs]:
    """The epochs of a row; of one that is to cost as much as another, None while that one is not finished.

    Args:
        results: of the finished cells of the same arena and seed, by row.

    Raises:
        UserError: if the cost of a finished cell is not known.
    """
    equal = row.equal
    if equal is None:
        return usual(row, factor)
    if any(name not in results for name in row.needs):
        return None
    if equal.base is None:
        return _in_place_of_growth(results[equal.to], equal.quantity)
    return _stretched(usual(row, factor), results[equal.base], results[equal.to], equal.quantity)


def _stretched(epochs: Epochs, base: Result, to: Result, quantity: Literal["time", "compute"]) -> Epochs:
    """The base's epochs times the ratio of what is to be spent to what it spent on training; its growth step stays as it is.

    The last phase takes up what rounding has left of the others.
    """
    phases = [phase for phase in _phases(base) if phase["kind"] == "train"]
    paces = [cost(base, phase, quantity) / phase["epochs"] for phase in phases]
    spent = sum(cost(base, phase, quantity) for phase in phases)
    left = sum(cost(to, phase, quantity) for phase in _phases(to))
    left -= sum(cost(base, phase, quantity) for phase in _phases(base) if phase["kind"] == "grow")
    ratio, found = left / spent, {}
    for name, pace in zip(list(epochs)[:-1], paces):
        found[name] = scaled(epochs[name], max(ratio, 0.0))
        left -= found[name] * pace
    return {**found, list(epochs)[-1]: scaled(1, max(left / paces[-1], 0.0))}


def _in_place_of_growth(to: Result, quantity: Literal["time", "compute"]) -> Epochs:
    """Clean epochs at the final size for as much as everything before the robust phase has cost, then as many robust ones.

    Where the grown network was never trained on clean images, nor is this one: robust epochs are for all of the cost.
    """
    phases = _phases(to)
    robust = [phase for phase in phases if phase["name"] == "era"]
    before = [phase for phase in phases if phase["name"] != "era"]
    clean = [phase for phase in before if phase["kind"] == "train"]
    if not robust or not clean:
        raise UserError(
            f"the run of preset {to.get('preset')!r} is not of two phases, clean and robust: none can be as long as it"
        )
    if before[-1]["kind"] == "grow":
        pace = sum(cost(to, phase, quantity) for phase in robust) / sum(phase["epochs"] for phase in robust)
        return {"seed": 0, "era": scaled(1, sum(cost(to, phase, quantity) for phase in _phases(to)) / pace)}
    pace = cost(to, clean[-1], quantity) / clean[-1]["epochs"]
    seed = scaled(1, sum(cost(to, phase, quantity) for phase in before) / pace)
    return {"seed": seed, "era": round(sum(phase["epochs"] for phase in robust))}


def cost(result: Result, phase: Mapping[str, Any], quantity: Literal["time", "compute"]) -> float:
    """Seconds of a phase, or image views × multiply-accumulates of one forward pass.

    The compute of growth steps counts as none: it differs by grower and is not measured.

    Raises:
        UserError: if the multiply-accumulates of a training phase's network were not recorded.
    """
    if quantity == "time":
        return float(phase["seconds"])
    if phase["kind"] == "grow":
        return 0.0
    for network in result["networks"]:
        if network.get("phase") == phase["name"] and network.get("macs"):
            return float(phase["images"] * phase["views"] * network["macs"])
    raise UserError(
        f"the multiply-accumulates of phase {phase['name']!r} are not in its result.json: rows of equal compute need a run "
        "of one growth step, by this version of gearnn"
    )


def _phases(result: Result) -> List[Mapping[str, Any]]:
    return [phase for phase in result["phases"] if phase.get("keeps") != "baseline"]
