"""``gearnn profile``: how fast an engine is here, layer by layer if asked, and what it costs."""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

import tyro
from typing_extensions import Annotated

from gearnn.commands.parsing import parse, print_json

_SHOWN = 20  # layers


@dataclass(frozen=True)
class ProfileArguments:
    """Latency percentiles, throughput, memory and energy of a deployed network on this machine; no torch needed.

    Prints what makes figures hard to compare (power mode, clocks, temperature, other work), too. Keep the machine idle.

    Examples:

      gearnn profile runs/demo

      gearnn profile model.onnx --batch-sizes 1 8 32 --threads 1 --layers --json

      gearnn profile model.engine --layers --trtexec profile.json
    """

    model: Annotated[Path, tyro.conf.Positional]
    """Run folder, .onnx or .engine."""
    batch_sizes: Tuple[int, ...] = (1, 32)
    iterations: int = 200
    """Timed calls per batch size, at most."""
    layers: bool = False
    """Time every layer at the first batch size."""
    trtexec: Optional[Path] = None
    """With --layers: also write them in the form of trtexec --exportProfile."""
    energy_seconds: float = 3.0
    """Calls for so long at the first batch size while the power meter is read; 0 leaves energy out."""
    runtime: str = "auto"
    """auto, onnxruntime, tensorrt or tensorrt_rtx."""
    seed: int = 0
    """Of the random images it is timed on."""
    device: str = "auto"
    """auto: the runtime says where it executes; cpu keeps ONNX Runtime off a GPU."""
    threads: Optional[int] = None
    json: bool = False
    """Print {"metadata", "results", "layers", "energy", "memory"} on standard output as JSON."""


def main(arguments: List[str]) -> int:
    """Profile and print."""
    options = parse(ProfileArguments, arguments, "profile")
    from gearnn.engine.board import board_state
    from gearnn.engine.environment import environment
    from gearnn.engine.layer_profile import profile_layers_of, to_trtexec
    from gearnn.engine.profile import measure_energy, profile_latency, random_images, resident_mb
    from gearnn.errors import UserError

    if options.trtexec and not options.layers:
        raise UserError("--trtexec writes the layers' times: add --layers")
    if not 0 <= options.energy_seconds < 3600:
        raise UserError(f"--energy-seconds must be from 0 to 3600, not {options.energy_seconds:g}")
    board = board_state()
    for warning in board.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    before = resident_mb()
    path = options.model / "model.onnx" if options.model.is_dir() else options.model
    with _load(path, options) as runtime:
        loaded = resident_mb()
        latencies = profile_latency(runtime, options.batch_sizes, iterations=options.iterations, seed=options.seed)
        memory = {"resident_before_mb": before, "resident_loaded_mb": loaded, "resident_peak_mb": resident_mb(peak=True)}
        energy = None
        if options.energy_seconds:
            energy = measure_energy(runtime, options.batch_sizes[0], seconds=options.energy_seconds, seed=options.seed)
        rows = []
        if options.layers:
            rows = profile_layers_of(runtime, random_images(runtime, options.batch_sizes[0], options.seed))
        conditions = {
            "model": str(path), "runtime": runtime.name, "version": runtime.version, "threads": runtime.threads,
            "runs_on": runtime.device, "precision": runtime.metadata.get("precision", "unknown"),
        }  # fmt: skip
    if options.trtexec:
        from gearnn.files import write_json

        write_json(options.trtexec, to_trtexec(rows, 50))
    if options.json:
        metadata = {**conditions, "seed": options.seed, **environment(), "board": board.to_dict()}
        results = [asdict(latency) for latency in latencies]
        layers = [asdict(row) for row in rows] if options.layers else None
        print_json(
            {
                "metadata": metadata,
                "results": results,
                "layers": layers,
                "energy": asdict(energy) if energy else None,
                "memory": memory,
            }
        )
        return 0
    print(f"{path} on {conditions['runtime']} {conditions['version']}, {conditions['runs_on']}, {conditions['threads']} threads")
    print("\n".join(_latency_table(latencies)))
    print(
        "memory: "
        + "; ".join(f"{name[9:-3]} {value:.0f} MB" if value else f"{name[9:-3]} not measured" for name, value in memory.items())
    )
    print(_energy_line(energy))
    if options.layers:
        print("\n".join(_layer_table(rows)))
    return 0


def _load(path: Path, options: ProfileArguments) -> Any:
    from gearnn.engine.runtimes import load_runtime
    from gearnn.errors import UserError

    if options.device not in ("auto", "cpu"):
        raise UserError(f"there is no device {options.device!r} to profile on: use auto or cpu, and --runtime for TensorRT")
    if options.device == "cpu":
        from gearnn.engine.runtimes.onnxruntime import CPU, OnnxRuntime

        return OnnxRuntime.load(path, options.threads, providers=(CPU,))
    return load_runtime(path, options.runtime, options.threads)


def _latency_table(latencies: List[Any]) -> List[str]:
    on_device = any(row.device_p50_ms is not None for row in latencies)
    lines = [
        f"{'batch':>6}{'p50 ms':>10}{'p90 ms':>10}{'p99 ms':>10}{'images/s':>12}{'calls':>8}"
        + (f"{'device ms':>12}" if on_device else "")
    ]
    for row in latencies:
        times = f"{row.p50_ms:>10.3f}{row.p90_ms:>10.3f}{row.p99_ms:>10.3f}"
        device = f"{row.device_p50_ms:>12.3f}" if row.device_p50_ms is not None else ""
        lines.append(f"{row.batch:>6}{times}{row.images_per_s:>12,.0f}{row.iterations:>8}{device}")
    return lines


def _energy_line(energy: Any) -> str:
    if energy is None:
        return "energy: left out"
    if energy.joules_per_image is None:
        return f"energy: {energy.source}"
    figures = f"{1e3 * energy.joules_per_image:.3f} mJ per image, {energy.mean_watts:.2f} W"
    return f"energy: {figures} ({energy.source}; idle power included)"


def _layer_table(rows: List[Any]) -> List[str]:
    lines = ["", f"{'share':>7}{'ms':>10}  {'op':<18}layer (torch module)"]
    for row in rows[:_SHOWN]:
        name = " + ".join(row.nodes) or f"[{row.name}]"
        modules = f" ({', '.join(row.modules)})" if row.modules else ""
        lines.append(f"{row.share:>7.1%}{row.mean_ms:>10.4f}  {row.op:<18}{name}{modules}")
    if len(rows) > _SHOWN:
        rest: Dict[str, float] = {
            "share": sum(row.share for row in rows[_SHOWN:]),
            "ms": sum(row.mean_ms for row in rows[_SHOWN:]),
        }
        lines.append(f"{rest['share']:>7.1%}{rest['ms']:>10.4f}  {len(rows) - _SHOWN} more; all with --json")
    return lines
