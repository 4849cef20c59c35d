"""Counts, bytes and durations as people write them."""

from __future__ import annotations

from typing import Any, Callable

import pytest

from gearnn.errors import UserError
from gearnn.quantities import number_of, parse_bytes, parse_count, parse_duration


@pytest.mark.parametrize(
    ("parse", "given", "expected"),
    [
        *[(parse_count, given, expected) for given, expected in ((7, 7), ("250,000", 250_000), ("1M", 10**6), ("1.5k", 1500))],
        *[(parse_count, given, expected) for given, expected in (("1e6", 10**6), ("2G", 2 * 10**9), ("400_000", 400_000))],
        *[(parse_bytes, given, expected) for given, expected in ((512, 512), ("512MiB", 2**29), ("1GB", 10**9), ("8 kb", 8000))],
        *[(parse_bytes, given, expected) for given, expected in (("0.5 GiB", 2**29), ("100B", 100), ("64M", 64 * 10**6))],
        *[(parse_duration, given, expected) for given, expected in (("45m", 2700), ("1h30m", 5400), ("600s", 600), ("90", 90))],
        *[(parse_duration, given, expected) for given, expected in (("1.5h", 5400), ("1h 5m 10s", 3910), ("10min", 600))],
    ],
)
def test_what_people_write(parse: Callable[..., Any], given: Any, expected: float) -> None:
    assert parse(given, "--x") == expected


@pytest.mark.parametrize("given", ["", "many", "1X", "-3", "0", "nan", "inf", "1M2", "1e400", -1, 0])
def test_other_counts_and_bytes_are_refused(given: Any) -> None:
    with pytest.raises(UserError, match="^--budget.params must be a count such as .* 1M, not"):
        parse_count(given, "--budget.params")
    with pytest.raises(UserError, match="^--budget.size must be .* 512MiB"):
        parse_bytes(given, "--budget.size")


@pytest.mark.parametrize("given", ["", "soon", "1h30", "-5m", "0s", "m", "1x", "1..5h", "nan"])
def test_other_durations_are_refused(given: str) -> None:
    with pytest.raises(UserError, match="^--budget.train-time must be a duration such as 45m, 1h30m or 600s"):
        parse_duration(given, "--budget.train-time")


def test_things_are_counted_in_words() -> None:
    assert [number_of(count, "thread") for count in (0, 1, 2, 1000)] == ["0 threads", "1 thread", "2 threads", "1,000 threads"]
