"""Peak memory of one call, in a process of its own: ``python -m gearnn.bench.memory NAME SIZE BATCH SEED``."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Callable, Optional

from gearnn.engine.profile import resident_mb

_RESET = Path("/proc/self/clear_refs")


def peak_growth_mb(name: str, size: int, batch: int, seed: int) -> Optional[float]:
    """How far a fresh process's resident memory rises while it augments one batch, in 10⁶ bytes; None where it cannot be read.

    Args:
        name: of a job of ``candidates.jobs``; it is first run on a single image, which loads and compiles what it needs.
    """
    return in_fresh_process("gearnn.bench.memory", name, str(size), str(batch), str(seed))


def in_fresh_process(module: str, *arguments: str) -> Optional[float]:
    """The number that ``python -m module arguments`` prints; None if it fails or a process's peak memory cannot be read here."""
    if not _RESET.exists():
        return None
    # Arrays go to the system and come from it: none is hidden in memory that was used before.
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "16384", "MALLOC_TRIM_THRESHOLD_": "16384"}
    done = subprocess.run([sys.executable, "-m", module, *arguments], capture_output=True, text=True, env=environment)
    return float(done.stdout) if done.returncode == 0 else None


def rise_of(job: Callable[[], object]) -> float:
    """How far this process's resident memory rises above what it was while a job runs, its result kept, in 10⁶ bytes."""
    _RESET.write_text("5", encoding="ascii")  # the peak starts anew from here
    before = resident_mb()
    result = job()
    peak = resident_mb(peak=True)
    del result
    assert before is not None and peak is not None
    return peak - before


def _measure(name: str, size: int, batch: int, seed: int) -> float:
    import torch

    from gearnn.bench.candidates import Workload, jobs

    torch.set_num_threads(1)
    jobs(Workload.generated(size, 1, seed), threads=1)[name]()
    job = jobs(Workload.generated(size, batch, seed), threads=1)[name]
    return rise_of(job)


if __name__ == "__main__":
    print(_measure(sys.argv[1], *map(int, sys.argv[2:5])))
