"""Fair timing on a machine that drifts: all candidates in turn, round after round, and medians."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Callable, Dict, List, Mapping

import numpy as np
import torch

_SAMPLE_SECONDS = 0.02  # calls are repeated until a sample is about this long
_FEWEST_ROUNDS = 3

Settle = Callable[[], object]
"""Waits until what the jobs have begun is done."""
Tick = Callable[[float], None]
"""``tick(share)``: how much of the work is done, 0..1; 1 comes once, at the end."""


def settle_on(device: str) -> Settle:
    """How to wait for a GPU; a CPU has done its work when a call returns."""
    return (lambda: None) if device == "cpu" else torch.cuda.synchronize


@dataclass(frozen=True)
class Timing:
    """Seconds of one call: median and quartiles of n samples."""

    median: float
    q25: float
    q75: float
    n: int


def interleave(
    jobs: Mapping[str, Callable[[], object]],
    seconds: float,
    tick: Tick = lambda share: None,
    settle: Settle = lambda: None,
) -> Dict[str, Timing]:
    """Time callables against each other.

    Each is called once to warm up, and again to find how many calls make a sample. Then they take turns, in an order that
    rotates, so that a slower minute of the machine slows all of them. Short jobs get an untimed call before each sample:
    caches hold the last candidate's arrays then, and the threads of its OpenMP pool may still spin on cores that this one
    needs (``gearnn.openmp.wait_briefly`` keeps that short).

    Args:
        jobs: by name.
        seconds: when they are over no new round begins; at least three rounds are made.
        tick: told the progress.
        settle: called at the end of each sample, within its time: a GPU works on while the calls return.
    """
    repeats = {}
    for name, job in jobs.items():
        job()
        settle()
        start = time.perf_counter()
        job()
        settle()
        repeats[name] = max(1, round(_SAMPLE_SECONDS / max(time.perf_counter() - start, 1e-7)))
    samples: Dict[str, List[float]] = {name: [] for name in jobs}
    names = list(jobs)
    begun = time.perf_counter()
    rounds, elapsed = 0, 0.0
    while names and (rounds < _FEWEST_ROUNDS or elapsed < seconds):
        turn = rounds % len(names)
        for name in names[turn:] + names[:turn]:
            samples[name].append(_sample(jobs[name], repeats[name], settle))
        rounds += 1
        elapsed = time.perf_counter() - begun
        tick(min(1.0, elapsed / max(seconds, 1e-9), rounds / _FEWEST_ROUNDS))
    return {name: _summary(taken) for name, taken in samples.items()}


def _sample(job: Callable[[], object], repeats: int, settle: Settle) -> float:
    if repeats > 1:
        job()
        settle()
    start = time.perf_counter()
    for _ in range(repeats):
        job()
    settle()
    return (time.perf_counter() - start) / repeats


def _summary(taken: List[float]) -> Timing:
    q25, median, q75 = (float(value) for value in np.percentile(taken, (25, 50, 75)))
    return Timing(median, q25, q75, len(taken))
