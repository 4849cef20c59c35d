"""``gearnn profile``: how fast an engine is here, layer by layer if asked, and what it costs."""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Tuple

import tyro
from typing_extensions import Annotated

from gearnn.commands.parsing import parse, print_json
from gearnn.quantities import number_of

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
    batch_sizes: Tuple[int, ...] = ()
    """By default 1 and 32, or the one batch size that the network was made for."""
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
    from gearnn.engine.board import board_state, heat_warnings
    from gearnn.engine.environment import environment
    from gearnn.engine.layer_profile import ORT_NOTE, RUNS, profile_layers_of, to_trtexec
    from gearnn.engine.places import network_at
    from gearnn.engine.profile import device_memory, measure_energy, profile_latency, random_images, resident_mb
    from gearnn.errors import UserError

    if options.trtexec and not options.layers:
        raise UserError("--trtexec writes the layers' times: add --layers")
    if not 0 <= options.energy_seconds < 3600:
        raise UserError(f"--energy-seconds must be from 0 to 3600, not {options.energy_seconds:g}")
    if options.device not in ("auto", "cpu"):
        raise UserError(f"there is no device {options.device!r} to profile on: leave out --device; --runtime chooses TensorRT")
    path = network_at(options.model)
    board = board_state()
    if board.line():
        _say(f"board: {board.line()}")
    _warn(board.warnings)
    before = resident_mb()
    with _load(path, options) as runtime:
        loaded = resident_mb()
        made_for = runtime.input_shape[0]
        sizes = options.batch_sizes or ((made_for,) if made_for else (1, 32))
        first = sizes[0]
        latencies = profile_latency(
            runtime,
            sizes,
            iterations=options.iterations,
            seed=options.seed,
            progress=_announce(sizes),
        )
        on_device = device_memory(runtime)
        memory = {
            "resident_before_mb": before, "resident_loaded_mb": loaded, "resident_peak_mb": resident_mb(peak=True),
            "device_mb": on_device.mb, "device_source": on_device.source,
        }  # fmt: skip
        energy = None
        if options.energy_seconds:
            energy = measure_energy(runtime, first, seconds=options.energy_seconds, seed=options.seed)
        rows = profile_layers_of(runtime, random_images(runtime, first, options.seed)) if options.layers else []
        conditions = {
            "model": str(path), "runtime": runtime.name, "version": runtime.version, "threads": runtime.threads,
            "runs_on": runtime.device, "precision": runtime.metadata.get("precision", "unknown"),
        }  # fmt: skip
    after = board_state()
    heated = heat_warnings(board, after)
    _warn(heated)
    if options.trtexec:
        from gearnn.files import write_json

        write_json(options.trtexec, to_trtexec(rows, RUNS))
    note = ORT_NOTE if options.layers and conditions["runtime"] == "onnxruntime" else None
    if options.json:
        warnings = {"warnings_after": heated, "temperature_after_c": after.temperature_c, "layers_note": note}
        print_json(
            {
                "metadata": {**conditions, "seed": options.seed, **environment(), "board": board.to_dict(), **warnings},
                "results": [asdict(latency) for latency in latencies],
                "layers": [asdict(row) for row in rows] if options.layers else None,
                "energy": asdict(energy) if energy else None,
                "memory": memory,
            }
        )
        return 0
    where = f"{conditions['runtime']} {conditions['version']}, {conditions['runs_on']}"
    print(f"{path} on {where}, {number_of(conditions['threads'], 'thread')}")
    _print_table(*_latency_table(latencies))
    print(_memory_line(memory))
    print(_energy_line(energy))
    if options.layers:
        _print_table(*_layer_table(rows))
        if note:
            print(note)
    return 0


def _load(path: Path, options: ProfileArguments) -> Any:
    from gearnn.engine.runtimes import load_runtime

    if options.device == "cpu":
        from gearnn.engine.runtimes.onnxruntime import CPU, OnnxRuntime

        return OnnxRuntime.load(path, options.threads, providers=(CPU,))
    return load_runtime(path, options.runtime, options.threads)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _warn(warnings: Sequence[str]) -> None:
    for warning in warnings:
        _say(f"warning: {warning}")


def _announce(batch_sizes: Sequence[int]) -> Any:
    """Plain lines: the thread of a bar would share the processor with what is timed."""

    def show(label: str, done: int, total: int) -> None:
        if done < total:
            _say(f"timing batch {batch_sizes[done]} ({done + 1} of {total})")

    return show


Table = Tuple[List[str], List[List[str]], int]
"""Column titles, rows, and how many columns, from the left, are numbers."""


def _latency_table(latencies: Sequence[Any]) -> Table:
    on_device = any(row.device_p50_ms is not None for row in latencies)
    titles = ["batch", "p50 ms", "p90 ms", "p99 ms", "images/s", "calls"]
    rows = [
        [
            f"{row.batch}",
            f"{row.p50_ms:.3f}",
            f"{row.p90_ms:.3f}",
            f"{row.p99_ms:.3f}",
            f"{row.images_per_s:,.0f}",
            f"{row.iterations}",
        ]
        for row in latencies
    ]
    if on_device:
        titles += ["device p50 ms", "p90 ms", "p99 ms"]
        for cells, row in zip(rows, latencies):
            times = (row.device_p50_ms, row.device_p90_ms, row.device_p99_ms)
            cells += ["" if time is None else f"{time:.3f}" for time in times]
    return titles, rows, len(titles)


def _layer_table(layers: Sequence[Any]) -> Table:
    rows = []
    for layer in layers[:_SHOWN]:
        name = " + ".join(layer.nodes) or f"[{layer.name}]"
        rows.append([f"{layer.share:.1%}", f"{layer.mean_ms:.4f}", layer.op, name, ", ".join(layer.modules)])
    rest = layers[_SHOWN:]
    if rest:
        share, taken = sum(layer.share for layer in rest), sum(layer.mean_ms for layer in rest)
        rows.append([f"{share:.1%}", f"{taken:.4f}", "", f"{len(rest)} more; all with --json", ""])
    return ["share", "ms", "op", "ONNX nodes, or [the runtime's own]", "torch module"], rows, 2


def _memory_line(memory: Dict[str, Any]) -> str:
    parts = []
    for key, label in (("before", "before loading"), ("loaded", "loaded"), ("peak", "peak")):
        value = memory[f"resident_{key}_mb"]
        parts.append(f"{label} {value:.0f} MB" if value is not None else f"{label} not measured")
    device = f"{memory['device_mb']:.0f} MB ({memory['device_source']})" if memory["device_mb"] else memory["device_source"]
    return f"memory of the process: {'; '.join(parts)}\nmemory on the device: {device}"


def _energy_line(energy: Any) -> str:
    if energy is None:
        return "energy: left out"
    if energy.joules_per_image is None:
        return f"energy: {energy.source}"
    figures = f"{1e3 * energy.joules_per_image:.3f} mJ per image, {energy.mean_watts:.2f} W"
    rails = ", ".join(f"{name} {1e3 * joules:.3f}" for name, joules in energy.rails.items()) if len(energy.rails) > 1 else ""
    read = f"{energy.samples} readings in {energy.seconds:.1f} s; idle power included"
    return (
        f"energy: {figures} ({energy.source}; {read})"
        + (f"\n  mJ per image by rail: {rails}" if rails else "")
        + (f"\n  {energy.remark}" if energy.remark else "")
    )


def _print_table(titles: List[str], rows: List[List[str]], numbers: int) -> None:
    """By rich on a terminal, plain columns elsewhere."""
    if sys.stdout.isatty():
        from rich.console import Console
        from rich.table import Table as RichTable
        from rich.text import Text

        table = RichTable()
        for column, title in enumerate(titles):
            table.add_column(title, justify="right" if column < numbers else "left", overflow="fold")
        for row in rows:
            table.add_row(*map(Text, row))  # names hold brackets, which are markup otherwise
        Console().print(table)
        return
    widths = [max(len(row[column]) for row in [titles, *rows]) for column in range(len(titles))]
    for row in [titles, *rows]:
        cells = [
            cell.rjust(width) if column < numbers else cell.ljust(width) for column, (cell, width) in enumerate(zip(row, widths))
        ]
        print("  ".join(cells).rstrip())
