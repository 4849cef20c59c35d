"""One finished cell as a flat record; what was not measured is None."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Callable, Dict, List, Mapping, Optional, Tuple

from benchmarks.evidence.attempts import attempts
from benchmarks.evidence.cells import Cell, finished
from gearnn.errors import UserError


@dataclass(frozen=True)
class Record:
    """A cell's figures.

    Attributes:
        clean, robust: accuracies of the final network on its engine, as fractions.
        params, macs: of the final network; multiply-accumulates per image.
        train_seconds: of all training and growth, not of measuring; cpu_seconds likewise, over all threads.
        images, views: that training and growth have looked at; an image in J views counts as J.
        joules: of training and growth, where a meter followed all of it.
        peak_memory_mb: the largest of any phase.
        latency_ms: median per image at batch 1 on the engine.
        clean_ece, robust_ece: expected calibration error, as fractions.
        corruptions: mean accuracy over severities, by corruption.
        robust_kind: "generated", or "official" for the published files.
    """

    arena: str
    row: str
    seed: int
    clean: float
    robust: float
    params: int
    macs: Optional[int]
    train_seconds: float
    cpu_seconds: Optional[float]
    images: Optional[int]
    views: Optional[int]
    joules: Optional[float]
    peak_memory_mb: Optional[float]
    latency_ms: Optional[float]
    clean_ece: Optional[float]
    robust_ece: Optional[float]
    corruptions: Mapping[str, float]
    robust_kind: str
    seed_params: int
    seed_clean: Optional[float]
    widths: Tuple[int, ...]
    phases: Tuple[Mapping[str, Any], ...]
    dataset: Mapping[str, Any]
    versions: Mapping[str, str]
    device: Mapping[str, Any]
    engine: Mapping[str, Any]
    attempts: Tuple[Mapping[str, Any], ...]


METRICS: Tuple[str, ...] = (
    "clean",
    "robust",
    "params",
    "macs",
    "train_seconds",
    "cpu_seconds",
    "images",
    "views",
    "joules",
    "peak_memory_mb",
    "latency_ms",
    "clean_ece",
    "robust_ece",
)


def collect(cell: Cell) -> Record:
    """The record of a finished cell.

    Raises:
        UserError: if its result.json is torn or lacks what every run has.
    """
    try:
        return record_of(cell.arena.name, cell.row.name, cell.seed, finished(cell), attempts(cell.folder))
    except (KeyError, TypeError, IndexError) as error:
        path = cell.folder / "result.json"
        raise UserError(f"{path} is not the result of a run by this version (it lacks {error}): delete that folder") from error


def record_of(arena: str, row: str, seed: int, result: Mapping[str, Any], tried: List[Dict[str, Any]]) -> Record:
    """A record from the contents of a result.json and of attempts.json."""
    networks = [network for network in result["networks"] if network["name"] != "baseline"]
    phases = [phase for phase in result["phases"] if phase.get("keeps") != "baseline"]
    final, engine = networks[-1], result["engine"]
    per_corruption = final["robustness"]["per_corruption"]
    return Record(
        arena=arena,
        row=row,
        seed=seed,
        clean=result["clean_accuracy"],
        robust=result["robust_accuracy"],
        params=final["params"],
        macs=final.get("macs"),
        train_seconds=sum(phase["seconds"] for phase in phases),
        cpu_seconds=_whole(phases, lambda phase: phase.get("cpu_seconds")),
        images=_integer(_whole(phases, lambda phase: phase.get("images"))),
        views=_integer(_whole(phases, lambda phase: phase["images"] * phase["views"] if "images" in phase else None)),
        joules=_whole(phases, lambda phase: phase.get("joules")),
        peak_memory_mb=max((phase["peak_memory_mb"] for phase in phases if phase.get("peak_memory_mb")), default=None),
        latency_ms=engine.get("latency_ms_p50"),
        clean_ece=final["robustness"].get("clean_ece"),
        robust_ece=final["robustness"].get("robust_ece"),
        corruptions={name: sum(values) / len(values) for name, values in per_corruption.items()},
        robust_kind=final["robustness"].get("kind", "generated"),
        seed_params=networks[0]["params"],
        seed_clean=networks[0].get("clean_accuracy"),
        widths=tuple(final["widths"]),
        phases=tuple(
            {name: phase.get(name) for name in ("name", "kind", "views", "epochs", "seconds", "images")} for phase in phases
        ),
        dataset={name: result["dataset"][name] for name in ("name", "n_train", "n_test")},  # not where it lay
        versions=result["versions"],
        device=result["device"],
        engine={name: engine.get(name) for name in ("runtime", "version", "threads")},
        attempts=tuple(tried),
    )


def _whole(phases: List[Dict[str, Any]], value: Callable[[Dict[str, Any]], Optional[float]]) -> Optional[float]:
    """A sum over phases, None if one of them was not measured."""
    values = [value(phase) for phase in phases]
    measured = [found for found in values if found is not None]
    return sum(measured) if len(measured) == len(values) else None


def _integer(value: Optional[float]) -> Optional[int]:
    return None if value is None else int(value)
