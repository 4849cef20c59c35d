"""What is known of a cell's processes."""

from __future__ import annotations

from pathlib import Path

from benchmarks.evidence.attempts import Attempt, attempts, ended


def test_attempts_are_written_down_as_they_go_on(tmp_path: Path) -> None:
    first = Attempt.start(tmp_path)
    assert len(attempts(tmp_path)) == 1  # although it has not ended
    first.began -= 100
    first.beat(1e6)
    assert attempts(tmp_path)[0]["seconds"] < 50
    first.beat(0)
    assert 100 <= attempts(tmp_path)[0]["seconds"] < 150
    second = Attempt.start(tmp_path)
    second.end()
    found = attempts(tmp_path)
    assert len(found) == 2
    assert found[0]["seconds"] >= 100 > found[1]["seconds"]


def test_when_an_attempt_ended() -> None:
    assert ended({"started": "2026-02-28T23:59:30+01:00", "seconds": 45.4}) == "2026-03-01T00:00:15+01:00"
