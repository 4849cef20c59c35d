"""Fair timing on a machine that drifts: all candidates in turn, round after round, and medians."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Callable, Dict, List, Mapping

import numpy as np

_SAMPLE_SECONDS = 0.02  # calls are repeated until a sample is about this long
_FEWEST_ROUNDS = 3

Tick = Callable[[float], None]
"""``tick(share)``: how much of the time is over, 0..1."""


@dataclass(frozen=True)
class Timing:
    """Seconds of one call: median and quartiles of n samples."""

    median: float
    q25: float
    q75: float
    n: int


def interleave(jobs: Mapping[str, Callable[[], object]], seconds: float, tick: Tick = lambda share: None) -> Dict[str, Timing]:
    """Time callables against each other.

    Each is called once to warm up, and again to find how many calls make a sample. Then they take turns, in an order that
    rotates, so that a slower minute of the machine slows all of them.

    Args:
        jobs: by name.
        seconds: when they are over no new round begins; at least three rounds are made.
        tick: told the progress.
    """
    repeats = {}
    for name, job in jobs.items():
        job()
        start = time.perf_counter()
        job()
        repeats[name] = max(1, round(_SAMPLE_SECONDS / max(time.perf_counter() - start, 1e-7)))
    samples: Dict[str, List[float]] = {name: [] for name in jobs}
    names = list(jobs)
    begun = time.perf_counter()
    rounds = 0
    while names and (rounds < _FEWEST_ROUNDS or time.perf_counter() - begun < seconds):
        turn = rounds % len(names)
        for name in names[turn:] + names[:turn]:
            start = time.perf_counter()
            for _ in range(repeats[name]):
                jobs[name]()
            samples[name].append((time.perf_counter() - start) / repeats[name])
        rounds += 1
        tick(min(1.0, (time.perf_counter() - begun) / max(seconds, 1e-9)))
    return {name: _summary(taken) for name, taken in samples.items()}


def _summary(taken: List[float]) -> Timing:
    q25, median, q75 = (float(value) for value in np.percentile(taken, (25, 50, 75)))
    return Timing(median, q25, q75, len(taken))
