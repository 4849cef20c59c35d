"""Medians of callables that take turns."""

from __future__ import annotations

import time
from typing import List

import pytest

from gearnn.bench.timing import interleave


def test_times_are_those_of_a_call() -> None:
    timings = interleave({"slow": lambda: time.sleep(0.03), "quick": lambda: time.sleep(0.003)}, seconds=0.3)
    assert timings["slow"].median == pytest.approx(0.03, rel=0.5)
    assert timings["quick"].median == pytest.approx(0.003, rel=0.6)
    for timing in timings.values():
        assert timing.q25 <= timing.median <= timing.q75 and timing.n >= 3


def test_candidates_take_turns_in_a_rotating_order() -> None:
    calls: List[str] = []

    def job(name: str) -> None:
        calls.append(name)
        time.sleep(0.03)

    shares: List[float] = []
    timings = interleave({name: lambda name=name: job(name) for name in "abc"}, seconds=0.01, tick=shares.append)  # type: ignore[misc]
    assert timings["a"].n == 3
    assert "".join(calls) == "aabbcc" + "abc" + "bca" + "cab"
    assert shares[-1] == 1.0
    assert interleave({}, seconds=0.01) == {}
