"""``gearnn bench engine``: the inference engine beside torch, on this machine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

from gearnn.commands.parsing import parse, print_json
from gearnn.errors import UserError


@dataclass(frozen=True)
class BenchEngineArguments:
    """Time one image through grown networks: torch, the engine, its bare ONNX Runtime session and peers, call by call in turn.

    Examples:

      gearnn bench engine

      gearnn bench engine --networks vgg19 runs/photos --threads 1 --json

      gearnn bench engine --compile --seconds 10
    """

    networks: Tuple[str, ...] = ("vgg19", "mobilenet_v1", "resnet18")
    """Architectures with random weights, or run folders."""
    width: float = 0.25
    """Of the architectures, as a fraction of their full widths: what growth makes of a seed network, roughly."""
    threads: Tuple[int, ...] = (1, 2)
    """Numbers of CPU threads, for torch and for the engine."""
    seconds: float = 3.0
    """For each network and number of threads, after warming up."""
    compile: bool = False
    """Time torch.compile too; it compiles for half a minute a network."""
    seed: int = 0
    """Of the weights and the picture."""
    device: str = "cpu"
    """cpu: the engine of this bench is ONNX Runtime on the CPU."""
    out: Optional[Path] = None
    """Also write the JSON to this file."""
    json: bool = False
    """Print {"metadata", "results", "skipped"} on standard output as JSON."""


def main(arguments: List[str]) -> int:
    """Time and print."""
    options = parse(BenchEngineArguments, arguments, "bench engine")
    if options.device != "cpu":
        raise UserError(f"bench engine runs on the CPU, not on {options.device!r}: use gearnn profile for a TensorRT engine")
    if not options.threads or min(options.threads) < 1 or not 0 < options.seconds <= 3600 or not 0 < options.width <= 1:
        raise UserError("--threads must be at least 1, --seconds above 0 and at most 3600, --width above 0 and at most 1")
    from gearnn.bench.engine import NOTES, bench_engine
    from gearnn.console import console_progress
    from gearnn.engine.environment import environment

    with console_progress() as progress:
        results, skipped = bench_engine(
            options.networks, options.threads,
            width=options.width, seconds=options.seconds, compiled=options.compile, seed=options.seed, progress=progress,
        )  # fmt: skip
    metadata = {"what": "engine", "seed": options.seed, "seconds": options.seconds, "notes": NOTES, **environment()}
    report: Dict[str, Any] = {"metadata": metadata, "results": results, "skipped": skipped}
    if options.json:
        print_json(report)
    else:
        _print(report)
    if options.out is not None:
        from gearnn.files import write_json

        write_json(options.out, report)
    return 0


def _print(report: Dict[str, Any]) -> None:
    device, versions = report["metadata"]["device"], report["metadata"]["versions"]
    shown = ", ".join(f"{name} {versions[name]}" for name in ("torch", "onnxruntime", "openvino") if name in versions)
    print(f"{device['name']}, {device['cores']} cores; {shown}; batch 1, milliseconds a call, medians and quartiles of n calls")
    print(f"{'':<12}{'net':<14}{'threads':>8}{'p50':>9}{'q25':>9}{'q75':>9}{'n':>7}  against eager")
    for row in report["results"]:
        times = f"{row['latency_ms_p50']:>9.4f}{row['q25']:>9.4f}{row['q75']:>9.4f}{row['n']:>7}"
        extra = f"  ({row['overhead_us']:+.1f} us over bare)" if "overhead_us" in row else ""
        print(f"{row['name']:<12}{Path(row['net']).name:<14}{row['threads']:>8}{times}  {row['ratio_to_eager']:.1f}x{extra}")
    for entry in report["skipped"]:
        print(f"skipped: {entry['name']}, {entry['reason']}")
