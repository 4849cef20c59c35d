"""``gearnn profile``: how fast an engine is here."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import List, Optional, Tuple

import tyro
from typing_extensions import Annotated

from gearnn.commands.parsing import parse, print_json


@dataclass(frozen=True)
class ProfileArguments:
    """Latency percentiles and throughput of an ONNX file in ONNX Runtime on this machine; no torch needed.

    Examples:

      gearnn profile runs/demo

      gearnn profile model.onnx --batch-sizes 1 8 32 --threads 1 --json
    """

    model: Annotated[Path, tyro.conf.Positional]
    """Run folder or .onnx."""
    batch_sizes: Tuple[int, ...] = (1, 32)
    iterations: int = 200
    """Timed calls per batch size, at most."""
    seed: int = 0
    """Of the random images it is timed on."""
    device: str = "cpu"
    """cpu: the runtimes for GPUs are not part of this version."""
    threads: Optional[int] = None
    json: bool = False
    """Print {"metadata", "results"} on standard output as JSON."""


def main(arguments: List[str]) -> int:
    """Profile and print."""
    options = parse(ProfileArguments, arguments, "profile")
    from gearnn.engine.environment import environment
    from gearnn.engine.profile import profile_latency
    from gearnn.engine.runtimes import load_runtime
    from gearnn.errors import UserError

    if options.device != "cpu":
        raise UserError(f"profile runs ONNX Runtime on the CPU, not on {options.device!r}: leave out --device")
    path = options.model / "model.onnx" if options.model.is_dir() else options.model
    with load_runtime(path, threads=options.threads) as runtime:
        latencies = profile_latency(runtime, options.batch_sizes, iterations=options.iterations, seed=options.seed)
        conditions = {"model": str(path), "runtime": runtime.name, "version": runtime.version, "threads": runtime.threads}
    if options.json:
        metadata = {**conditions, "seed": options.seed, **environment()}
        print_json({"metadata": metadata, "results": [asdict(latency) for latency in latencies]})
        return 0
    print(f"{path} on {conditions['runtime']} {conditions['version']}, {conditions['threads']} threads")
    print(f"{'batch':>6}{'p50 ms':>10}{'p90 ms':>10}{'p99 ms':>10}{'images/s':>12}{'calls':>8}")
    for row in latencies:
        times = f"{row.p50_ms:>10.3f}{row.p90_ms:>10.3f}{row.p99_ms:>10.3f}"
        print(f"{row.batch:>6}{times}{row.images_per_s:>12,.0f}{row.iterations:>8}")
    return 0
