"""Shares of a run's time, with a clock that only moves when told to."""

from __future__ import annotations

import random
from typing import List

import pytest

from gearnn.errors import UserError
from gearnn.quantities import parse_duration
from gearnn.timing_plan import Stretch, allotted, by_clock, check_time, in_words, shortest

SEED, GROWTH, REGROW, ERA = (
    Stretch("seed", 2.0, 16.0),
    Stretch("growth", 5.0, 5.0),
    Stretch("regrow", 3.0, 18.0),
    Stretch("era", 10.0, 300.0),
)
PHASES = (SEED, GROWTH, REGROW, ERA)


def _shares(left: float, phases: tuple = PHASES) -> List[float]:
    """What every phase gets if each takes exactly what it is given."""
    shares = []
    for position in range(len(phases)):
        shares.append(allotted(left, phases[position:]))
        left -= shares[-1]
    return shares


def test_the_usual_time_gives_the_usual_epochs() -> None:
    assert _shares(16 + 5 + 18 + 300) == pytest.approx([16, 5, 18, 300])


@pytest.mark.parametrize("left", [20.0, 30.0, 1000.0])
def test_all_the_time_is_shared_and_nobody_gets_less_than_an_epoch(left: float) -> None:
    shares = _shares(left)
    assert sum(shares) == pytest.approx(left)
    assert all(share >= phase.least - 1e-9 for share, phase in zip(shares, PHASES))
    assert shares[1] == pytest.approx(5.0)


def test_when_time_is_short_all_lose_alike() -> None:
    assert _shares(10.0) == pytest.approx([1.0, 2.5, 1.5, 5.0])
    assert allotted(-3.0, PHASES) == 0.0


def test_single_epochs_share_by_their_cost() -> None:
    phases = (Stretch("seed", 1.0, 1.0), Stretch("era", 3.0, 3.0))
    assert _shares(40.0, phases) == pytest.approx([10.0, 30.0])


def test_later_phases_absorb_what_earlier_ones_got_wrong() -> None:
    generator = random.Random(0)
    for _ in range(20):
        left = 100.0
        for position in range(3):
            left -= allotted(left, PHASES[position:]) * generator.uniform(0.7, 1.4)
        assert allotted(left, PHASES[3:]) == pytest.approx(left)


def test_a_time_too_short_is_refused_with_one_that_is_not() -> None:
    least = shortest(4.0, PHASES, 7.0)
    assert least == pytest.approx(4 + 1.1 * 27)
    check_time(least, 4.0, PHASES, 7.0)
    with pytest.raises(UserError, match="too short .* 30s: give at least 34s") as error:
        check_time(30.0, 4.0, PHASES, 7.0)
    assert "\n" not in str(error.value)


def test_a_phase_ends_within_half_a_step_of_its_time() -> None:
    for steps_take in (0.7, 3.0, 11.0):
        now = 50.0
        pace, step, seen = by_clock(50.0, 40.0, lambda: now), 0, []  # noqa: B023
        while pace(step) < 1:
            seen.append(pace(step))
            now, step = now + steps_take, step + 1
        assert abs(now - 90.0) <= steps_take / 2 + 1e-9
        assert seen == sorted(seen)
        assert seen[0] == 0


def test_a_phase_without_time_is_over_at_once() -> None:
    assert by_clock(5.0, 0.0, lambda: 5.0)(0) == 1.0


@pytest.mark.parametrize(
    ("seconds", "text", "up"), [(45.2, "45s", "46s"), (61, "1m01s", "1m01s"), (640, "11m", "11m"), (3725, "1h02m", "1h03m")]
)
def test_durations_are_said_as_they_are_given(seconds: float, text: str, up: str) -> None:
    assert in_words(seconds) == text
    assert in_words(seconds, up=True) == up
    assert parse_duration(in_words(seconds, up=True), "--x") >= seconds
