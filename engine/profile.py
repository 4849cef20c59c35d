"""How fast a runtime is here: latency percentiles and throughput, with their conditions."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import List, Optional, Sequence

import numpy as np

from gearnn.engine.errors import EngineError
from gearnn.engine.runtimes.base import Runtime

_DEVICE_CALLS = 50


@dataclass(frozen=True)
class Latency:
    """Host time of a call at one batch size, array in to array out, and what it was measured under."""

    batch: int
    p50_ms: float
    p90_ms: float
    p99_ms: float
    images_per_s: float
    """Images over the summed time of the calls, made one after the other."""
    iterations: int
    """Timed calls: fewer than asked for if the time was up first."""
    runtime: str
    version: str
    threads: int
    seed: int
    device_p50_ms: Optional[float] = None
    """Time on the device without copies, 50th percentile; None where the host executes."""


@dataclass(frozen=True)
class EnergyUse:
    """Energy of calls made one after the other; what the device draws idle is part of it.

    Attributes:
        batch: images per call.
        joules_per_image: None if nothing could be read.
        mean_watts: over the calls.
        inferences: calls made.
        source: the meter in words, or the reason why there is no figure.
    """

    batch: int
    joules_per_image: Optional[float]
    mean_watts: Optional[float]
    inferences: int
    source: str


def profile_latency(
    runtime: Runtime,
    batch_sizes: Sequence[int] = (1, 32),
    *,
    iterations: int = 200,
    warmup: int = 20,
    max_seconds: float = 5.0,
    seed: int = 0,
) -> List[Latency]:
    """Time calls of a runtime on random images in [0, 1], one batch size after the other.

    Args:
        runtime: a loaded network with fixed channels, height and width.
        batch_sizes: images per call.
        iterations: timed calls per batch size, at most; at least one is made.
        warmup: calls before that, not timed.
        max_seconds: ends the warm-up and then the timed calls of each batch size early; a call in progress is finished.
        seed: of the images.

    Raises:
        EngineError: for a batch size or a count below 1, or a network with an open height or width.
    """
    if min([*batch_sizes, iterations]) < 1:
        raise EngineError(f"batch sizes and iterations must be at least 1, not {list(batch_sizes)} and {iterations}")
    results = []
    for batch in batch_sizes:
        images = random_images(runtime, batch, seed)
        if warmup:
            _time_calls(runtime, images, warmup, max_seconds)
        seconds = _time_calls(runtime, images, iterations, max_seconds)
        p50, p90, p99 = (float(value) for value in np.percentile(seconds, (50, 90, 99)) * 1e3)
        throughput = batch * len(seconds) / float(seconds.sum())
        conditions = (runtime.name, runtime.version, runtime.threads, seed)
        device = _device_p50_ms(runtime, images, min(len(seconds), _DEVICE_CALLS))
        results.append(Latency(batch, p50, p90, p99, throughput, len(seconds), *conditions, device))
    return results


def measure_energy(runtime: Runtime, batch: int = 1, *, seconds: float = 3.0, seed: int = 0, root: Path = Path("/")) -> EnergyUse:
    """Energy per image, from the device's own meter while calls are made for a time.

    Args:
        seconds: a meter is read some twenty times a second: less than a second says little.
        root: where ``sys`` is mounted; another folder in tests.
    """
    from gearnn.engine.power import PowerSampler, find_meter

    meter, source = find_meter(root)
    if meter is None:
        return EnergyUse(batch, None, None, 0, source)
    images, calls = random_images(runtime, batch, seed), 0
    runtime.run(images)
    with PowerSampler(meter) as sampler:
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            runtime.run(images)
            calls += 1
    used = sampler.energy
    if used.joules is None:
        return EnergyUse(batch, None, None, calls, used.reason or "not measured")
    return EnergyUse(batch, used.joules / (calls * batch), used.mean_watts, calls, used.source)


def random_images(runtime: Runtime, batch: int, seed: int) -> np.ndarray:
    """Images of the kind that a network takes: float32 in [0, 1], or uint8.

    Raises:
        EngineError: if its image size is open.
    """
    shape = tuple(size or 0 for size in runtime.input_shape[1:])
    if 0 in shape:
        raise EngineError(
            f"{runtime.path} leaves its image size open {runtime.input_shape[1:]}: export it for one size to profile it"
        )
    generator = np.random.default_rng(seed)
    if runtime.input_dtype == np.uint8:
        return generator.integers(0, 256, (batch, *shape), dtype=np.uint8)
    return generator.random((batch, *shape), dtype=np.float32)


def resident_mb(peak: bool = False) -> Optional[float]:
    """Resident memory of this process now, or its peak so far, in MB (10⁶ bytes); None where /proc does not tell."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
        line = next(line for line in lines if line.startswith("VmHWM" if peak else "VmRSS"))
        return int(line.split()[1]) * 1024 / 1e6
    except (OSError, StopIteration, ValueError, IndexError):
        return None


def _device_p50_ms(runtime: Runtime, images: np.ndarray, calls: int) -> Optional[float]:
    taken = [runtime.device_seconds(images) for _ in range(calls)] if runtime.device_seconds(images) is not None else []
    times = [seconds for seconds in taken if seconds is not None]
    return float(np.median(times)) * 1e3 if times else None


def _time_calls(runtime: Runtime, images: np.ndarray, count: int, max_seconds: float) -> np.ndarray:
    """Seconds of each of up to ``count`` calls."""
    taken: List[float] = []
    end = time.perf_counter() + max_seconds
    while len(taken) < count:
        start = time.perf_counter()
        if taken and start >= end:
            break
        runtime.run(images)
        taken.append(time.perf_counter() - start)
    return np.array(taken)
