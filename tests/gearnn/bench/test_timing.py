"""Medians of callables that take turns."""

from __future__ import annotations

import time
from typing import Callable, Dict, List

import pytest

from gearnn.bench import timing
from gearnn.bench.timing import interleave


def test_times_are_those_of_a_call() -> None:
    timings = interleave({"slow": lambda: time.sleep(0.03), "quick": lambda: time.sleep(0.003)}, seconds=0.3)
    assert timings["slow"].median == pytest.approx(0.03, rel=0.5)
    assert timings["quick"].median == pytest.approx(0.003, rel=0.6)
    for found in timings.values():
        assert found.q25 <= found.median <= found.q75 and found.n >= 3


@pytest.fixture()
def clock(monkeypatch: pytest.MonkeyPatch) -> List[float]:
    """A clock that jobs move by hand."""
    now = [0.0]
    monkeypatch.setattr(timing.time, "perf_counter", lambda: now[0])
    return now


def test_candidates_take_turns_in_a_rotating_order(clock: List[float]) -> None:
    calls: List[str] = []

    def job(name: str) -> Callable[[], None]:
        def run() -> None:
            calls.append(name)
            clock[0] += 0.03

        return run

    shares: List[float] = []
    timings = interleave({name: job(name) for name in "abc"}, seconds=0.01, tick=shares.append)
    assert "".join(calls) == "aabbcc" + "abc" + "bca" + "cab"
    assert timings["a"].n == 3
    assert shares == pytest.approx([1 / 3, 2 / 3, 1])
    assert interleave({}, seconds=0.01) == {}


def test_short_jobs_are_repeated_and_first_called_untimed(clock: List[float]) -> None:
    """The first call of each turn takes ten times as long, as after another's work; it must not count."""
    calls: Dict[str, int] = {"short": 0, "long": 0}
    last = ["none"]

    def job(name: str, seconds: float) -> Callable[[], None]:
        def run() -> None:
            clock[0] += seconds * (1 if last[0] == name else 10)
            calls[name] += 1
            last[0] = name

        return run

    timings = interleave({"short": job("short", 0.002), "long": job("long", 0.5)}, seconds=0.01)
    assert timings["short"].median == pytest.approx(0.002)
    assert calls == {"short": 2 + 3 * (1 + 10), "long": 2 + 3}


def test_the_time_is_used_and_kept_to(clock: List[float]) -> None:
    def run() -> None:
        clock[0] += 0.1

    shares: List[float] = []
    found = interleave({"a": run, "b": run}, seconds=2.0, tick=shares.append)
    assert found["a"].n == found["b"].n == 10
    assert shares == sorted(shares) and shares.count(1.0) == 1
