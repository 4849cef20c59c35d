"""``gearnn bench augment`` and ``gearnn bench score``: the kernels beside their peers, on this machine."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, Literal, Optional, Tuple

import tyro
from typing_extensions import Annotated

from gearnn.commands.parsing import parse, print_json
from gearnn.errors import UserError


@dataclass(frozen=True)
class BenchArguments:
    """Time the kernels beside their peers on this machine, interleaved in one process: medians and quartiles.

    Examples:

      gearnn bench augment

      gearnn bench augment --sizes 32 --threads 1 2 --json

      gearnn bench score --seconds 5
    """

    what: Annotated[Literal["augment", "score"], tyro.conf.Positional]
    """augment: ERA, AugMix and PRIME against Pillow, kornia and torch. score: the channel sums of growth against torch's."""
    sizes: Tuple[int, ...] = (32, 64, 224)
    """Image sides in pixels (augment)."""
    threads: Tuple[int, ...] = (1, 2)
    """Numbers of CPU threads; Pillow always has one."""
    batch: Optional[int] = None
    """Images a call (augment); by default 128 at 32, 64 at 64 and 16 at 224."""
    seconds: float = 10.0
    """For each combination, after warming up."""
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
    options = parse(BenchArguments, arguments, "bench")
    what = options.what
    _check(options)
    from gearnn.console import console_progress
    from gearnn.device import choose_device
    from gearnn.engine.environment import environment

    device = str(choose_device(options.device))
    metadata: Dict[str, Any] = {"what": what, "seed": options.seed, "seconds": options.seconds, **environment()}
    skipped: List[Dict[str, str]] = []
    with console_progress() as progress:
        common: Dict[str, Any] = {"seconds": options.seconds, "seed": options.seed, "device": device, "progress": progress}
        if what == "augment":
            from gearnn.bench.augment import bench_augment
            from gearnn.bench.pictures import pictures_from

            source, pictures = pictures_from(options.data, options.seed)
            metadata.update(_AUGMENT_NOTES, pictures=source)
            results, skipped = bench_augment(options.sizes, options.threads, batch=options.batch, pictures=pictures, **common)
        else:
            from gearnn.bench.score import bench_score

            results = bench_score(threads=options.threads, **common)
    report = {"metadata": metadata, "results": results, "skipped": skipped}
    if options.out is not None:
        from gearnn.files import write_text

        write_text(options.out, json.dumps(report, indent=2) + "\n")
    if options.json:
        print_json(report)
    else:
        _print(what, metadata, results, skipped)
    return 0


_AUGMENT_NOTES = {
    "images_per_s": "augmented views a second; the clean view that all but augmix-pillow and kornia also write is not counted",
    "ratio_to_pillow": "against Pillow on the same plan, on one thread, in the same round of samples",
    "q25, q75": "quartiles of images_per_s over n samples",
    "peak_over_batch": "rise of a fresh process's resident memory over the size of all views in float32",
}


def _check(options: BenchArguments) -> None:
    rules = [
        ("--sizes", options.sizes, bool(options.sizes) and min(options.sizes) >= 8, "at least 8"),
        ("--threads", options.threads, bool(options.threads) and min(options.threads) >= 1, "at least 1"),
        ("--batch", options.batch, options.batch is None or options.batch >= 1, "at least 1"),
        ("--seconds", options.seconds, 0 < options.seconds <= 3600, "above 0 and at most 3600"),
    ]
    for option, value, holds, allowed in rules:
        if not holds:
            raise UserError(f"{option} must be {allowed}, not {value}")


def _print(what: str, metadata: Dict[str, Any], results: List[Dict[str, Any]], skipped: List[Dict[str, str]]) -> None:
    device, versions = metadata["device"], metadata["versions"]
    shown = ("numba", "torch", "kornia", "pillow", "numpy")
    print(
        f"{device['name']}, {device['cores']} cores; "
        + ", ".join(f"{name} {versions[name]}" for name in shown if name in versions)
    )
    if what == "augment":
        print(f"pictures: {metadata['pictures']}; views a second, quartiles over n samples; Pillow on one thread")
        print(f"{'':<14}{'size':>5}{'threads':>8}{'views/s':>11}{'q25':>10}{'q75':>10}{'n':>5}{'Mpixel/s':>10}  against")
        for row in results:
            ratios = [f"{key[9:].replace('_', '-')} {row[key]:.1f}x" for key in row if key.startswith("ratio_to_")]
            if row.get("peak_over_batch") is not None:
                ratios.append(f"peak memory {row['peak_over_batch']:.1f} batches")
            rates = f"{row['images_per_s']:>11,.0f}{row['q25']:>10,.0f}{row['q75']:>10,.0f}{row['n']:>5}"
            rates += f"{row['pixels_per_s'] / 1e6:>10.1f}"
            print(f"{row['name']:<14}{row['size']:>5}{row['threads']:>8}{rates}  {', '.join(ratios)}")
    else:
        print(f"{'':<7}{'shape':>18}{'layout':>15}{'threads':>8}{'ms':>9}{'q25':>9}{'q75':>9}{'n':>6}{'GB/s':>8}  against torch")
        for row in results:
            times = f"{row['ms']:>9.3f}{row['q25']:>9.3f}{row['q75']:>9.3f}{row['n']:>6}{row['gb_per_s']:>8.1f}"
            shape = "x".join(map(str, row["shape"]))
            print(f"{row['name']:<7}{shape:>18}{row['layout']:>15}{row['threads']:>8}{times}  {row['ratio_to_torch']:.2f}x")
    for entry in skipped:
        print(f"skipped: {entry['name']}, {entry['reason']}")
