"""How a run's time is shared out: what each phase may take, so that the whole run ends when it should.

Every phase gets the time of one epoch at least; what is left beyond that is shared as the preset's further epochs would share it.
Shares are worked out anew before each phase, from what is then left, so that later phases absorb the errors of earlier ones.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Callable, Sequence

from gearnn.errors import UserError
from gearnn.training import Pace

MARGIN = 1.1
"""On what the end of the run is expected to take, and on the shortest time that is offered: machines are not even."""

Clock = Callable[[], float]
"""Seconds of the run so far, those of earlier sessions included."""


def stopwatch() -> Clock:
    """A clock that starts now."""
    start = time.monotonic()
    return lambda: time.monotonic() - start


@dataclass(frozen=True)
class Stretch:
    """A phase that is still to come.

    Attributes:
        least: seconds that it needs at any rate: one epoch of training, or the whole of a growth step.
        usual: seconds of as many epochs as the configuration names.
    """

    name: str
    least: float
    usual: float


def allotted(left: float, stretches: Sequence[Stretch]) -> float:
    """Seconds for the first of the phases to come, when ``left`` seconds are left for all of them."""
    first = stretches[0]
    least = sum(stretch.least for stretch in stretches)
    if left <= least:
        return max(left, 0.0) * first.least / least
    extra = sum(stretch.usual - stretch.least for stretch in stretches)
    if extra <= 0:  # one epoch of each phase is all that was asked for
        return left * first.least / least
    return first.least + (left - least) * (first.usual - first.least) / extra


def shortest(spent: float, stretches: Sequence[Stretch], reserve: float) -> float:
    """The least seconds in which a run can be done, with a margin, once ``spent`` have passed."""
    return spent + MARGIN * (sum(stretch.least for stretch in stretches) + reserve)


def check_time(limit: float, spent: float, stretches: Sequence[Stretch], reserve: float) -> None:
    """Refuse a time in which not even one epoch of every phase fits.

    Raises:
        UserError: naming the least time that does.
    """
    least = shortest(spent, stretches, reserve)
    if limit < least:
        raise UserError(
            f"--budget.train-time is too short for one epoch of every phase and the measurements at the end, {in_words(limit)}: "
            f"give at least {in_words(least, up=True)}, or fewer images with --limit-train and --limit-test"
        )


def by_clock(began: float, seconds: float, clock: Clock) -> Pace:
    """The pace of a phase that began at ``began`` and may take ``seconds``: over where half of another step would not fit."""

    def pace(step: int) -> float:
        elapsed = clock() - began
        half = elapsed / step / 2 if step else 0.0
        return 1.0 if elapsed + half >= seconds else elapsed / seconds

    return pace


def in_words(seconds: float, up: bool = False) -> str:
    """A duration as ``--budget.train-time`` takes it: 45s, 12m, 1h30m; exact to a second below ten minutes, to a minute above.

    ``up`` rounds up, so that what is offered suffices.
    """
    whole = int(seconds) + (1 if up and seconds > int(seconds) else 0)
    if whole >= 600:
        minutes = (whole + 59) // 60 if up else round(whole / 60)
        return f"{minutes // 60}h{minutes % 60:02d}m" if minutes >= 60 else f"{minutes}m"
    return f"{whole // 60}m{whole % 60:02d}s" if whole >= 60 else f"{whole}s"
