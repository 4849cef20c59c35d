"""Peak memory of one call, in a process of its own: ``python -m gearnn.bench.memory NAME SIZE BATCH SEED``."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Optional

_STATUS = Path("/proc/self/status")
RESET = Path("/proc/self/clear_refs")
"""Writing 5 to it starts the peak of resident memory anew."""


def peak_growth_mb(name: str, size: int, batch: int, seed: int) -> Optional[float]:
    """How far a fresh process's resident memory rises while it augments one batch, in 10⁶ bytes; None where it cannot be read.

    Args:
        name: of a job of ``candidates.jobs``; it is first run on a single image, which loads and compiles what it needs.
    """
    if not RESET.exists():
        return None
    command = [sys.executable, "-m", "gearnn.bench.memory", name, str(size), str(batch), str(seed)]
    # Arrays go to the system and come from it: none is hidden in memory that was used before.
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "16384", "MALLOC_TRIM_THRESHOLD_": "16384"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    return float(done.stdout) if done.returncode == 0 else None


def _measure(name: str, size: int, batch: int, seed: int) -> float:
    import torch

    from gearnn.bench.candidates import Workload, jobs

    torch.set_num_threads(1)
    jobs(Workload.generated(size, 1, seed), threads=1)[name]()
    job = jobs(Workload.generated(size, batch, seed), threads=1)[name]
    RESET.write_text("5", encoding="ascii")  # the peak starts anew from here
    before = kilobytes("VmRSS")
    result = job()
    peak = kilobytes("VmHWM")
    del result
    return (peak - before) * 1024 / 1e6


def kilobytes(field: str) -> int:
    """A line of this process's status, such as VmRSS."""
    found = re.search(rf"{field}:\s+(\d+) kB", _STATUS.read_text(encoding="ascii", errors="replace"))
    assert found is not None
    return int(found.group(1))


if __name__ == "__main__":
    print(_measure(sys.argv[1], *map(int, sys.argv[2:5])))
