"""What a stretch of training takes besides time: processor time, memory and energy."""

from __future__ import annotations

import contextlib
import time
from typing import Any, Dict, Iterator

import torch

from gearnn.engine.power import PowerSampler
from gearnn.memory import peak_mb, reset_peak


@contextlib.contextmanager
def metering(spent: Dict[str, float], device: torch.device) -> Iterator[None]:
    """Add to ``spent`` what the block takes: "cpu_seconds" (of all threads of this process), "peak_memory_mb" (the largest so
    far), "joules" of the device's own meter, and "unmetered", how many blocks no meter could follow.
    """
    reset_peak(device)
    start = time.process_time()
    with PowerSampler() as sampler:
        yield
    spent["cpu_seconds"] = spent.get("cpu_seconds", 0.0) + time.process_time() - start
    peak, joules = peak_mb(device), sampler.energy.joules
    if peak is not None:
        spent["peak_memory_mb"] = max(spent.get("peak_memory_mb", 0.0), peak)
    if joules is None:
        spent["unmetered"] = spent.get("unmetered", 0.0) + 1
    else:
        spent["joules"] = spent.get("joules", 0.0) + joules


def metered(spent: Dict[str, float]) -> Dict[str, Any]:
    """For a phase's record: processor time, peak memory, and energy where a meter followed all of it."""
    whole = "joules" in spent and not spent.get("unmetered")
    return {
        "cpu_seconds": spent.get("cpu_seconds"),
        "peak_memory_mb": spent.get("peak_memory_mb"),
        "joules": spent["joules"] if whole else None,
    }
