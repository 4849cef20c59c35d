"""Everything that needs a GPU, in one go: the tests, a memory and a race check, the benchmarks, one JSON file per GPU.

``make gpu-check`` on a machine with an NVIDIA GPU. Each part has a time limit, so that the whole ends within ten minutes; a
part that fails, runs out of time, or would have left out our kernels is recorded as such, and the exit code is 1.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Dict, List, Optional

ROOT = Path(__file__).resolve().parents[1]
# Seconds; together below ten minutes.
TEST_LIMIT, SANITIZER_LIMIT, BENCH_LIMIT = 240, 60, 75
OURS = {"era", "era+plan", "augmix", "prime", "fused"}
# What runs under compute-sanitizer: small, since every memory access is checked, but every variant of the kernels.
SANITIZED = """
import torch
from gearnn.kernels.era import era_views
from gearnn.kernels.era_plan import draw_plan
from gearnn.kernels.prime_plan import draw_prime_plan
from gearnn.kernels.score import channel_sums
for size in ((17, 22), (64, 64), (65, 66)):
    images = torch.randint(0, 256, (3, 3, *size), dtype=torch.uint8, device="cuda")
    frame = dict(seed=0, epoch=0, image_size=size, pad=2, flip=True)
    for plan in (draw_plan(range(3), **frame), draw_plan(range(3), width=3, **frame), draw_prime_plan(range(3), **frame)):
        era_views(images, plan, backend="cuda", channels_last=size[0] == 17, dtype="float16" if size[0] == 65 else "float32")
for kind in (torch.float32, torch.float16, torch.bfloat16):
    for shape in ((3, 5, 7, 9), (40, 3), (5, 300, 2)):
        a, g = (torch.randn(shape, device="cuda").to(kind) for _ in range(2))
        channel_sums(a, g, backend="cupy")
        channel_sums(a.movedim(1, -1).contiguous().movedim(-1, 1), g, backend="cupy")
torch.cuda.synchronize()
"""


def main() -> int:
    """Run all parts and write ``benchmarks/results/<gpu>.json``; 2 where there is no GPU, or no back end for it."""
    trouble = missing()
    if trouble:
        print(f"error: {trouble}", file=sys.stderr)
        return 2
    report = facts()
    python = sys.executable
    report["tests"] = part([python, "-m", "pytest", "-m", "gpu", "-q", "--no-header", "--durations", "10"], TEST_LIMIT)
    sanitizer = shutil.which("compute-sanitizer")
    for tool in ("memcheck", "racecheck"):
        if sanitizer is None:
            report[tool] = {"skipped": "compute-sanitizer is not installed"}
            continue
        # torch's allocator would put small arrays into large pieces, where reading past an array's end goes unnoticed.
        environment = {**os.environ, "PYTORCH_NO_CUDA_MEMORY_CACHING": "1"}
        quiet = ["--report-api-errors", "no"] if tool == "memcheck" else []  # of probes, which are meant to fail
        command = [sanitizer, "--tool", tool, *quiet, "--error-exitcode", "3", python, "-c", SANITIZED]
        report[tool] = part(command, SANITIZER_LIMIT, environment=environment)
    for name, options in (
        ("augment", ["augment", "--seconds", "2"]),
        ("augment-large", ["augment", "--sizes", "32", "--batch", "4096", "--seconds", "1"]),
        ("score", ["score", "--seconds", "1"]),
    ):
        command = [python, "-m", "gearnn", "bench", *options, "--device", "cuda", "--threads", "1", "--json"]
        report[name] = part(command, BENCH_LIMIT, parse=True)
        left_out = OURS & {entry["name"] for entry in report[name].get("skipped", [])}
        if left_out:
            report[name].update(exit_code=1, output=f"did not run: {', '.join(sorted(left_out))}")
    folder = ROOT / "benchmarks" / "results"
    folder.mkdir(exist_ok=True)
    target = folder / f"{re.sub(r'[^a-z0-9]+', '-', report['gpu'].lower()).strip('-')}.json"
    target.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    failed = [key for key, value in report.items() if isinstance(value, dict) and value.get("exit_code", 0) != 0]
    print(f"wrote {target.relative_to(ROOT)}" + (f"; failed: {', '.join(failed)}" if failed else ""))
    return 1 if failed else 0


def missing() -> Optional[str]:
    """Why this cannot be done here, in a sentence; None where it can."""
    try:
        import torch
    except ImportError:
        return "torch is not installed: run this where it is, in its CUDA build"
    if not torch.cuda.is_available():
        return "no GPU that torch can use: run this on a machine with an NVIDIA GPU and torch's CUDA build"
    from gearnn.kernels.registry import probe

    states = [state for state in map(probe, ("cuda", "cupy")) if not state.ready]
    return "; ".join(f"the {state.name!r} back end cannot run: {state.reason} ({state.cure})" for state in states) or None


def facts() -> Dict[str, Any]:
    """The GPU, its driver, the versions, and what memory gives: 10⁹ bytes read and written a second by a copy of 4 GB, twice."""
    import torch

    from gearnn.engine.environment import environment

    driver = None
    if shutil.which("nvidia-smi"):  # which a Jetson does not have
        command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
        driver = subprocess.run(command, stdout=subprocess.PIPE, text=True).stdout.strip()
    free = torch.cuda.mem_get_info()[0]
    source = torch.empty(min(1 << 32, free // 4), dtype=torch.uint8, device="cuda").random_()
    target = torch.empty_like(source)

    def rate() -> float:
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        target.copy_(source)
        begin.record()
        for _ in range(10):
            target.copy_(source)
        end.record()
        end.synchronize()
        return 2 * 10 * source.numel() / begin.elapsed_time(end) / 1e6

    properties = torch.cuda.get_device_properties(0)
    return {
        "gpu": properties.name,
        "date": time.strftime("%Y-%m-%d"),
        "compute_capability": f"{properties.major}.{properties.minor}",
        "multiprocessors": properties.multi_processor_count,
        "memory_mb": properties.total_memory // 10**6,
        "driver": driver,
        "cuda_of_torch": torch.version.cuda,
        "copy_gb_per_s": [round(rate(), 1), round(rate(), 1)],
        **environment(),
    }


def part(command: List[str], limit: float, parse: bool = False, environment: Optional[Dict[str, str]] = None) -> Dict[str, Any]:
    """Run one part, showing what it prints; exit code 124 stands for a time limit that ran out."""
    print("$", " ".join(command[:8]), flush=True)
    start = time.perf_counter()
    try:
        done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, timeout=limit, env=environment)
        code, output = done.returncode, done.stdout
    except subprocess.TimeoutExpired as error:
        code, output = 124, (error.stdout or b"").decode() if isinstance(error.stdout, bytes) else error.stdout or ""
    result: Dict[str, Any] = {"exit_code": code, "seconds": round(time.perf_counter() - start, 1)}
    if parse and code == 0:
        try:
            return {**result, **json.loads(output)}
        except ValueError:
            result["exit_code"] = 1
    print(output, flush=True)
    return {**result, "output": output[-4000:]}


if __name__ == "__main__":
    sys.exit(main())
