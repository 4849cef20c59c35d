"""``gearnn bench augment`` and ``gearnn bench score``: the kernels beside their peers, on this machine."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, Literal, Optional, Tuple

import tyro
from typing_extensions import Annotated

from gearnn.commands.parsing import parse, print_json
from gearnn.errors import UserError

Rows = List[Dict[str, Any]]
_OTHERS = ("growth", "engine")  # modules of their own


@dataclass(frozen=True)
class BenchArguments:
    """Time the kernels beside their peers on this machine, in turn in one process: medians and quartiles.

    Examples:

      gearnn bench augment

      gearnn bench augment --sizes 32 --threads 1 2 --json

      gearnn bench score --seconds 5

      gearnn bench growth --help

      gearnn bench engine --help
    """

    what: Annotated[Literal["augment", "score", "growth", "engine"], tyro.conf.Positional]
    """augment: ERA, AugMix and PRIME against Pillow, kornia and torch. score: the channel sums of growth against torch's. growth:
    the growers side by side on your images. engine: the engine beside torch. The last two have options of their own."""
    sizes: Tuple[int, ...] = (32, 64, 224)
    """Image sides in pixels (augment)."""
    threads: Tuple[int, ...] = (1, 2)
    """Numbers of CPU threads; Pillow always has one, and a GPU is timed with the first alone."""
    batch: Optional[int] = None
    """Images a call (augment); by default 128 at 32, 64 at 64, 16 at 224 and 32 at other sizes."""
    seconds: Optional[float] = None
    """For each family (augment) or shape and layout (score), size and number of threads, after warming up; by default 5 and 2."""
    data: Optional[Path] = None
    """Folder of pictures to time on (augment); $GEARNN_DATA if not given, else generated ones."""
    seed: int = 0
    """Of the pictures and the plans."""
    device: str = "cpu"
    """cpu or cuda."""
    out: Optional[Path] = None
    """Also write the JSON to this file."""
    json: bool = False
    """Print {"metadata", "results", "skipped"} on standard output as JSON."""


def main(arguments: List[str]) -> int:
    """Time and print."""
    if arguments[:1] == ["growth"]:  # which trains networks, with options of its own
        from gearnn.commands import bench_growth

        return bench_growth.main(arguments[1:])
    if arguments[:1] == ["engine"]:
        from gearnn.commands import bench_engine

        return bench_engine.main(arguments[1:])
    options = parse(BenchArguments, arguments, "bench")
    _check(options)
    from gearnn.console import console_progress
    from gearnn.device import choose_device
    from gearnn.engine.environment import environment

    device = choose_device(options.device)
    metadata: Dict[str, Any] = {"what": options.what, "seed": options.seed, "threads": options.threads, **environment()}
    metadata["GOMP_SPINCOUNT"] = os.environ.get("GOMP_SPINCOUNT")
    if device.type == "cuda":
        from torch.cuda import get_device_name

        metadata["gpu"] = get_device_name(device)
    common: Dict[str, Any] = {"threads": options.threads, "seed": options.seed, "device": str(device)}
    if options.seconds is not None:
        metadata["seconds"] = common["seconds"] = options.seconds
    with console_progress() as progress:
        run = _augment if options.what == "augment" else _score
        facts, results, skipped = run(options, {**common, "progress": progress})
    report: Dict[str, Any] = {"metadata": {**metadata, **facts}, "results": results, "skipped": skipped}
    if options.json:
        print_json(report)
    else:
        _print_header(report["metadata"])
        (_print_augment if options.what == "augment" else _print_score)(results)
        for entry in skipped:
            print(f"skipped: {entry['name']}, {entry['reason']}")
    if options.out is not None:
        from gearnn.files import write_json

        write_json(options.out, report)
    return 0


def _augment(options: BenchArguments, common: Dict[str, Any]) -> Tuple[Dict[str, Any], Rows, List[Dict[str, str]]]:
    from gearnn.bench.augment import NOTES, bench_augment
    from gearnn.bench.pictures import pictures_from

    source, pictures = pictures_from(options.data, options.seed, common["progress"])
    results, skipped = bench_augment(options.sizes, batch=options.batch, pictures=pictures, **common)
    return {"pictures": source, "notes": NOTES}, results, skipped


def _score(options: BenchArguments, common: Dict[str, Any]) -> Tuple[Dict[str, Any], Rows, List[Dict[str, str]]]:
    from gearnn.bench.score import LARGE, NOTES, SHAPES, bench_score

    results, skipped = bench_score(SHAPES if common["device"] == "cpu" else (*SHAPES, LARGE), **common)
    return {"notes": NOTES}, results, skipped


def _check(options: BenchArguments) -> None:
    if options.what in _OTHERS:
        raise UserError(f"gearnn bench {options.what} has options of its own, which come after its name: see --help there")
    rules = [
        ("--sizes", options.sizes, options.sizes and min(options.sizes) >= 8, "at least 8"),
        ("--threads", options.threads, options.threads and min(options.threads) >= 1, "at least 1"),
        ("--batch", options.batch, options.batch is None or options.batch >= 1, "at least 1"),
        ("--seconds", options.seconds, options.seconds is None or 0 < options.seconds <= 3600, "above 0 and at most 3600"),
    ]
    for option, value, holds, allowed in rules:
        if not holds:
            raise UserError(f"{option} must be {allowed}, not {value}")
    if options.what == "score" and (options.sizes, options.batch, options.data) != (BenchArguments.sizes, None, None):
        raise UserError("--sizes, --batch and --data are for gearnn bench augment: leave them out, score has shapes of its own")


def _print_header(metadata: Dict[str, Any]) -> None:
    device, versions = metadata["device"], metadata["versions"]
    places = [f"{device['name']}, {device['cores']} cores", *([metadata["gpu"]] if "gpu" in metadata else [])]
    shown = [f"{name} {versions[name]}" for name in ("numba", "cupy", "torch", "kornia", "pillow", "numpy") if name in versions]
    print("; ".join([*places, ", ".join(shown)]))
    if "pictures" in metadata:
        print(f"pictures: {metadata['pictures']}")


def _print_augment(results: Rows) -> None:
    print("augmented views a second, medians and quartiles of n samples; Pillow always on one CPU thread")
    print(f"{'':<15}{'size':>5}{'threads':>8}{'batch':>6}{'views/s':>10}{'q25':>10}{'q75':>10}{'n':>5}{'Mpixel/s':>10}  against")
    for row in results:
        peers = {key[len("ratio_to_") :].replace("_", "-"): row[key] for key in row if key.startswith("ratio_to_")}
        digits = {"one-thread": 2}
        against = [f"{peer} {ratio:.{digits.get(peer, 1)}f}x" for peer, ratio in peers.items() if peer != row["name"]]
        if row.get("peak_over_batch") is not None:
            against.append(f"peak memory {row['peak_over_batch']:.1f} batches")
        rates = f"{row['images_per_s']:>10,.0f}{row['q25']:>10,.0f}{row['q75']:>10,.0f}{row['n']:>5}"
        conditions = f"{row['name']:<15}{row['size']:>5}{row['threads']:>8}{row['batch']:>6}"
        print(f"{conditions}{rates}{row['pixels_per_s'] / 1e6:>10.1f}  {', '.join(against)}".rstrip())


def _print_score(results: Rows) -> None:
    print("the three sums together, medians and quartiles of n samples")
    print(f"{'':<7}{'shape':>15}{'layout':>15}{'threads':>8}{'ms':>9}{'q25':>9}{'q75':>9}{'n':>6}{'GB/s':>8}  against torch")
    for row in results:
        times = f"{row['ms']:>9.3f}{row['q25']:>9.3f}{row['q75']:>9.3f}{row['n']:>6}{row['gb_per_s']:>8.1f}"
        conditions = f"{row['name']:<7}{'x'.join(map(str, row['shape'])):>15}{row['layout']:>15}{row['threads']:>8}"
        print(f"{conditions}{times}  {row['ratio_to_torch']:.1f}x")
