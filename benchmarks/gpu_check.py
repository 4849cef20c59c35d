"""Everything that needs a GPU, in one go: the tests, a memory check, the benchmarks, one JSON file per GPU.

``make gpu-check`` on a machine with an NVIDIA GPU. Each part has a time limit, so that the whole ends within ten minutes; a
part that fails or runs out of time is recorded as such, and the exit code is 1.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Dict, List, Optional

ROOT = Path(__file__).resolve().parents[1]
# Seconds; together below ten minutes.
TEST_LIMIT, SANITIZER_LIMIT, BENCH_LIMIT = 240, 120, 110
# What runs under compute-sanitizer: small, since every memory access is checked.
SANITIZED = """
import torch
from gearnn.kernels.era import era_views
from gearnn.kernels.era_plan import draw_plan
from gearnn.kernels.prime_plan import draw_prime_plan
from gearnn.kernels.score import channel_sums
images = torch.randint(0, 256, (4, 3, 17, 22), dtype=torch.uint8, device="cuda")
for draw in (draw_plan, draw_prime_plan):
    era_views(images, draw(range(4), seed=0, epoch=0, image_size=(17, 22), pad=2, flip=True), backend="cuda")
a, g = (torch.randn(3, 5, 7, 9, device="cuda") for _ in range(2))
channel_sums(a, g, backend="cupy")
torch.cuda.synchronize()
"""


def main() -> int:
    """Run all parts and write ``benchmarks/results/<gpu>.json``; 2 where there is no GPU."""
    name = gpu_name()
    if name is None:
        print(
            "error: no GPU that torch can use: run this on a machine with an NVIDIA GPU and torch's CUDA build", file=sys.stderr
        )
        return 2
    python = sys.executable
    report: Dict[str, Any] = {"gpu": name}
    report["tests"] = part([python, "-m", "pytest", "-m", "gpu", "-q", "--no-header"], TEST_LIMIT)
    sanitizer = shutil.which("compute-sanitizer")
    if sanitizer is None:
        report["compute-sanitizer"] = {"skipped": "not installed"}
    else:
        report["compute-sanitizer"] = part([sanitizer, "--error-exitcode", "3", python, "-c", SANITIZED], SANITIZER_LIMIT)
    for what in ("augment", "score"):
        command = [python, "-m", "gearnn", "bench", what, "--device", "cuda", "--threads", "1", "--seconds", "2", "--json"]
        report[what] = part(command, BENCH_LIMIT, parse=True)
    folder = ROOT / "benchmarks" / "results"
    folder.mkdir(exist_ok=True)
    target = folder / f"{re.sub(r'[^a-z0-9]+', '-', name.lower()).strip('-')}.json"
    target.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    failed = [key for key, value in report.items() if isinstance(value, dict) and value.get("exit_code", 0) != 0]
    print(f"wrote {target.relative_to(ROOT)}" + (f"; failed: {', '.join(failed)}" if failed else ""))
    return 1 if failed else 0


def gpu_name() -> Optional[str]:
    """The first GPU that torch can use."""
    try:
        import torch
    except ImportError:
        return None
    return str(torch.cuda.get_device_name(0)) if torch.cuda.is_available() else None


def part(command: List[str], limit: float, parse: bool = False) -> Dict[str, Any]:
    """Run one part, showing what it prints; exit code 124 stands for a time limit that ran out."""
    print("$", " ".join(command[:6]), flush=True)
    start = time.perf_counter()
    try:
        done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, timeout=limit)
        code, output = done.returncode, done.stdout
    except subprocess.TimeoutExpired as error:
        code, output = 124, (error.stdout or b"").decode() if isinstance(error.stdout, bytes) else error.stdout or ""
    result: Dict[str, Any] = {"exit_code": code, "seconds": round(time.perf_counter() - start, 1)}
    if parse and code == 0:
        try:
            return {**result, **json.loads(output)}
        except ValueError:
            result["exit_code"] = 1
    print(output)
    return {**result, "output": output[-4000:]}


if __name__ == "__main__":
    sys.exit(main())
