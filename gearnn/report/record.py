"""A run folder as typed values; whatever is missing or of the wrong kind is None."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Tuple

from gearnn.engine.json_text import parse_json
from gearnn.errors import UserError
from gearnn.files import read_json
from gearnn.report.stored import Examples, read_examples, read_text


def number(found: Any) -> Optional[float]:
    """A finite number, or None."""
    if isinstance(found, bool) or not isinstance(found, (int, float)):
        return None
    try:
        return float(found) if math.isfinite(found) else None
    except OverflowError:  # an integer beyond floating point
        return None


def text(found: Any) -> Optional[str]:
    """A non-empty string (or a number as one), or None."""
    if isinstance(found, str):
        return found or None
    return None if isinstance(found, bool) or not isinstance(found, (int, float)) else str(found)


def mapping(found: Any) -> Mapping[str, Any]:
    """A mapping; an empty one for anything else."""
    return found if isinstance(found, dict) else {}


def items(found: Any) -> List[Any]:
    """A list; an empty one for anything else."""
    return found if isinstance(found, list) else []


def texts(found: Any) -> Tuple[str, ...]:
    """The strings in a list."""
    return tuple(entry for entry in map(text, items(found)) if entry is not None)


_LARGEST_METRICS = 1 << 26  # bytes

KINDS = ("clean", "robust")
"""Of accuracy."""


@dataclass(frozen=True)
class Network:
    """One measured network; accuracies are fractions, ``scores`` accuracies per corruption and severity.

    ``latency`` is the median for one image in ms, ``bytes`` the size of its ONNX file.
    ``intervals`` are (low, high) of accuracies, 95 %, and ``errors`` expected calibration errors, of "clean" and "robust".
    """

    name: str
    label: str
    params: Optional[float]
    clean: Optional[float]
    robust: Optional[float]
    scores: Mapping[str, Tuple[Optional[float], ...]]
    severities: Tuple[str, ...]
    kind: Optional[str]
    n: Optional[float]
    images: Optional[float]
    seconds: Optional[float]
    latency: Optional[float]
    bytes: Optional[float]
    intervals: Mapping[str, Tuple[Optional[float], ...]]
    errors: Mapping[str, Optional[float]]


@dataclass(frozen=True)
class PhaseRecord:
    """What one phase took; with a time budget, also what it was to take when it began, and what it took with its tests."""

    name: str
    kind: Optional[str]
    views: Optional[float]
    epochs: Optional[float]
    seconds: Optional[float]
    images: Optional[float]
    images_per_s: Optional[float]
    peak_memory_mb: Optional[float]
    joules: Optional[float]
    planned_seconds: Optional[float] = None
    wall_seconds: Optional[float] = None


@dataclass(frozen=True)
class Layer:
    """One layer's width before and after growth, what the growth consists of, its score, and what it adds to each budget."""

    name: str
    before: Optional[float]
    after: Optional[float]
    split: Optional[float] = None
    new: Optional[float] = None
    score: Optional[float] = None
    cost: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class LayerTime:
    """One layer as the engine ran it: its name there, the torch module it comes from, its operation, mean ms for one image."""

    name: str
    module: Optional[str]
    op: Optional[str]
    ms: float


@dataclass(frozen=True)
class Run:
    """A run folder, read; ``missing`` says in a sentence each what could not be read."""

    folder: Path
    result: Mapping[str, Any]
    config: Mapping[str, Any]
    metrics: Tuple[Mapping[str, Any], ...]
    examples: Optional[Examples]
    networks: Tuple[Network, ...]
    phases: Tuple[PhaseRecord, ...]
    layers: Tuple[Layer, ...]
    layer_times: Tuple[LayerTime, ...]
    missing: Tuple[str, ...]

    @property
    def final(self) -> Optional[Network]:
        """The network that was asked for: "robust", or the last one that is not the baseline."""
        return _final(self.networks)

    @property
    def baseline(self) -> Optional[Network]:
        """The network of the same size trained clean only, if it was measured."""
        return next((network for network in self.networks if network.name == "baseline"), None)

    @property
    def corruptions(self) -> str:
        """Where the corruptions of the robust accuracy come from ("generated")."""
        return (self.final.kind if self.final else None) or "origin not recorded"

    def part(self, name: str) -> Mapping[str, Any]:
        """A mapping within the result, empty if it is not there."""
        return mapping(self.result.get(name))


def read_run(folder: Path) -> Run:
    """Read a run folder.

    Raises:
        UserError: if result.json is missing, unreadable or not an object.
    """
    result = read_json(folder / "result.json")
    if not isinstance(result, dict):
        raise UserError(f"{folder / 'result.json'} is not a JSON object: restore it or start the run anew")
    engine = mapping(result.get("engine"))
    missing: List[str] = []
    phases = tuple(_phase(entry) for entry in map(mapping, items(result.get("phases"))))
    networks = tuple(_network(entry, phases) for entry in items(result.get("networks")) if isinstance(entry, dict))
    return Run(
        folder=folder,
        result=result,
        config=_config(folder / "config.json", missing),
        metrics=_metrics(folder / "metrics.jsonl", missing),
        examples=read_examples(folder / "examples.npz", missing),
        networks=_timed(networks, number(engine.get("latency_ms_p50"))),
        phases=phases,
        layers=_layers(result),
        layer_times=_layer_times(engine),
        missing=tuple(missing),
    )


def _final(networks: Tuple[Network, ...]) -> Optional[Network]:
    others = [network for network in networks if network.name != "baseline"]
    return next((network for network in others if network.name == "robust"), others[-1] if others else None)


def _timed(networks: Tuple[Network, ...], latency: Optional[float]) -> Tuple[Network, ...]:
    """The final network is the one that the engine was timed on."""
    final = _final(networks)
    return tuple(replace(one, latency=latency) if one is final and one.latency is None else one for one in networks)


def _network(entry: Mapping[str, Any], phases: Tuple[PhaseRecord, ...]) -> Network:
    name = text(entry.get("name")) or "unnamed"
    robustness = mapping(entry.get("robustness"))
    scores = {
        str(corruption): tuple(map(number, items(row))) for corruption, row in mapping(robustness.get("per_corruption")).items()
    }
    spent = _spent(phases, text(entry.get("phase")), alone=name == "baseline")
    images, seconds = number(entry.get("trained_images")), number(entry.get("train_seconds"))
    return Network(
        name=name,
        label=text(entry.get("label")) or name,
        params=number(entry.get("params")),
        clean=number(entry.get("clean_accuracy")),
        robust=number(entry.get("robust_accuracy")),
        scores=scores,
        severities=texts(robustness.get("severities")),
        kind=text(robustness.get("kind")),
        n=number(robustness.get("n")),
        images=spent[0] if images is None else images,
        seconds=spent[1] if seconds is None else seconds,
        latency=number(entry.get("latency_ms_p50")),
        bytes=number(entry.get("onnx_bytes")),
        intervals={kind: tuple(map(number, items(robustness.get(f"{kind}_interval")))) for kind in KINDS},
        errors={kind: number(robustness.get(f"{kind}_ece")) for kind in KINDS},
    )


def _spent(phases: Tuple[PhaseRecord, ...], last: Optional[str], alone: bool) -> Tuple[Optional[float], Optional[float]]:
    """Images and seconds of the phases up to and with ``last``, which made a network; only of ``last`` if it started anew."""
    names = [phase.name for phase in phases]
    if last not in names:
        return None, None
    end = names.index(last) + 1
    chosen = phases[end - 1 : end] if alone else phases[:end]
    images, seconds = [phase.images for phase in chosen], [phase.seconds for phase in chosen]
    return _sum(images), _sum(seconds)


def _sum(values: List[Optional[float]]) -> Optional[float]:
    known = [value for value in values if value is not None]
    return sum(known) if len(known) == len(values) else None


def _phase(entry: Mapping[str, Any]) -> PhaseRecord:
    timed = ("seconds", "images_per_s", "planned_seconds", "wall_seconds")
    numbers = ("views", "epochs", "images", "peak_memory_mb", "joules", *timed)
    return PhaseRecord(
        text(entry.get("name")) or "unnamed", text(entry.get("kind")), **{key: number(entry.get(key)) for key in numbers}
    )


def _layers(result: Mapping[str, Any]) -> Tuple[Layer, ...]:
    """Every layer with a width of its own, with its record of growth; only those that grew if the widths are not known."""
    keys = ("before", "after", "split", "new", "score")
    growth = mapping(result.get("growth"))
    grown: Dict[str, Layer] = {}
    for entry in map(mapping, items(growth.get("layers"))):
        name = text(entry.get("name"))
        if name is not None:
            grown[name] = Layer(name, **{key: number(entry.get(key)) for key in keys}, cost=mapping(entry.get("cost")))
    names = texts(result.get("width_layers"))
    seed, final = ([number(width) for width in items(result.get(key))] for key in ("widths_seed", "widths_final"))
    if not seed or len(seed) != len(final):
        return tuple(grown.values())
    if len(names) != len(seed):
        names = tuple(f"layer {index + 1}" for index in range(len(seed)))
    layers = []
    for name, before, after in zip(names, seed, final):
        layers.append(replace(grown.get(name, Layer(name, before, after)), before=before, after=after))
    return tuple(layers)


def _layer_times(engine: Mapping[str, Any]) -> Tuple[LayerTime, ...]:
    """The layers whose time is known."""
    found = []
    for entry in map(mapping, items(engine.get("layers"))):
        ms, modules = number(entry.get("mean_ms")), texts(entry.get("modules"))
        if ms is not None and ms >= 0:
            found.append(LayerTime(text(entry.get("name")) or "unnamed", next(iter(modules), None), text(entry.get("op")), ms))
    return tuple(found)


def _config(path: Path, missing: List[str]) -> Mapping[str, Any]:
    try:
        return mapping(read_json(path))
    except UserError:
        missing.append("config.json could not be read, so the configuration is not shown.")
        return {}


def _metrics(path: Path, missing: List[str]) -> Tuple[Mapping[str, Any], ...]:
    try:
        lines = read_text(path, _LARGEST_METRICS).splitlines()
    except (OSError, ValueError):
        missing.append("metrics.jsonl could not be read, so there are no curves.")
        return ()
    rows, broken = [], 0
    for line in lines:
        try:
            row = parse_json(line) if line.strip() else None
        except ValueError:
            row = None
        if isinstance(row, dict):
            rows.append(row)
        elif line.strip():
            broken += 1
    if broken:
        missing.append(f"metrics.jsonl has {broken:,} unreadable line{'s' if broken > 1 else ''}, left out of the curves.")
    return tuple(rows)
