"""Peak memory of a piece of work."""

from __future__ import annotations

import contextlib
import resource
import sys
from pathlib import Path
from typing import Optional

import torch

from gearnn.engine.profile import resident_mb


def reset_peak(device: torch.device) -> None:
    """Start a new peak: of CUDA's allocator on a GPU, of this process's resident memory otherwise (Linux)."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return
    # Writing 5 resets the high-water mark (proc(5)); where that is refused, the mark is the whole process's.
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_mb(device: torch.device) -> Optional[float]:
    """The peak in MB (10⁶ bytes) since `reset_peak`: bytes allocated on a GPU, resident bytes of the process on a CPU."""
    if device.type == "cuda":
        return float(torch.cuda.max_memory_allocated(device)) / 1e6
    resident = resident_mb(peak=True)
    if resident is not None:
        return resident
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6
