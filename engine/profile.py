"""How long a deployed network takes."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import List, Sequence

import numpy as np

from gearnn.engine.errors import EngineError
from gearnn.engine.runtimes.base import Runtime


@dataclass(frozen=True)
class Latency:
    """Wall-clock percentiles of one call at one batch size, as seen by the caller, and the throughput at the median."""

    batch: int
    p50_ms: float
    p90_ms: float
    p99_ms: float
    images_per_s: float
    iterations: int


def profile_latency(
    runtime: Runtime,
    batch_sizes: Sequence[int] = (1, 32),
    *,
    iterations: int = 200,
    warmup: int = 20,
    seconds: float = 5.0,
    seed: int = 0,
) -> List[Latency]:
    """Time calls of ``runtime.run`` on random images, after a warm-up.

    Args:
        iterations, seconds: calls per batch size stop at whichever comes first, but not before 10.
        seed: of the images.

    Raises:
        EngineError: for a batch size or a number of iterations below 1.
    """
    if min(batch_sizes, default=0) < 1 or iterations < 1:
        raise EngineError(f"batch sizes and iterations must be at least 1, not {list(batch_sizes)} and {iterations}")
    generator = np.random.default_rng(seed)
    return [_latency(runtime, generator, batch, iterations, warmup, seconds) for batch in batch_sizes]


def _latency(
    runtime: Runtime, generator: np.random.Generator, batch: int, iterations: int, warmup: int, seconds: float
) -> Latency:
    images = generator.random((batch, *runtime.input_shape[1:]), dtype=np.float32)
    for _ in range(warmup):
        runtime.run(images)
    times: List[float] = []
    begun = time.perf_counter()
    while len(times) < iterations and (len(times) < 10 or time.perf_counter() - begun < seconds):
        start = time.perf_counter()
        runtime.run(images)
        times.append(time.perf_counter() - start)
    p50, p90, p99 = (float(value) for value in np.percentile(np.array(times) * 1e3, (50, 90, 99)))
    return Latency(batch, p50, p90, p99, batch / p50 * 1e3, len(times))
