"""How fast a runtime is here: latency percentiles and throughput, with their conditions."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import List, Sequence

import numpy as np

from gearnn.engine.errors import EngineError
from gearnn.engine.runtimes.base import Runtime


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
    shape = runtime.input_shape[1:]
    if None in shape:
        raise EngineError(f"{runtime.path} leaves its image size open {shape}: export it for one size to profile it")
    generator = np.random.default_rng(seed)
    results = []
    for batch in batch_sizes:
        images = generator.random((batch, *shape), dtype=np.float32)  # type: ignore[arg-type]
        if warmup:
            _time_calls(runtime, images, warmup, max_seconds)
        seconds = _time_calls(runtime, images, iterations, max_seconds)
        p50, p90, p99 = (float(value) for value in np.percentile(seconds, (50, 90, 99)) * 1e3)
        throughput = batch * len(seconds) / float(seconds.sum())
        conditions = (runtime.name, runtime.version, runtime.threads, seed)
        results.append(Latency(batch, p50, p90, p99, throughput, len(seconds), *conditions))
    return results


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
