from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from gearnn.watch_view import Lines, clock, events, headline, sparkline, table
from gearnn.watching import read_status


def test_sparkline_follows_the_values() -> None:
    assert sparkline([3, 2, None, 1]) == "█▅▁"
    assert sparkline([1, 2], unicode=False) == "_#"
    assert sparkline([2, 2]) == "▁▁"
    assert sparkline([]) == sparkline([None]) == ""
    long = sparkline([float(value) for value in range(1000)])
    assert len(long) == 60 and long[0] == "▁" and long[-1] == "█" and list(long) == sorted(long)


def test_clock() -> None:
    assert [clock(seconds) for seconds in (0.4, 75, 3725)] == ["0:00", "1:15", "1:02:05"]


def test_a_terminal_shows_phases_and_curves(tiny_run: Path) -> None:
    status = read_status(tiny_run)
    console = Console(file=io.StringIO(), width=100, color_system=None)
    console.print(table(status, console))
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert "finished, clean" in shown and "regrow" in shown and "6/6" in shown
    curve = next(line for line in shown.splitlines() if line.startswith("loss "))
    assert len(curve.split()[-1]) == 14


def test_lines_print_what_is_new_and_say_when_a_run_went_back(tiny_run: Path, capsys: pytest.CaptureFixture) -> None:
    status = read_status(tiny_run)
    lines = Lines()
    lines(replace(status, rows=status.rows[:2], phases=status.phases[:1]))
    assert capsys.readouterr().out.splitlines() == events(status)[:2]
    lines(status)
    assert capsys.readouterr().out.splitlines() == events(status)[2:]
    assert events(status)[6].startswith("growth: done in")
    lines(replace(status, rows=status.rows[:-1]))
    assert capsys.readouterr().out.splitlines() == ["went back to an earlier epoch"]


def test_the_headline_of_each_state(tiny_run: Path) -> None:
    status = read_status(tiny_run)
    era = (*status.phases[:3], replace(status.phases[3], state="running"))
    running = replace(
        status, state="running", activity="era", epoch=2, epochs=6.0, phases=era, seconds_left=75.0, at_least=True,
        process={"pid": "7", "host": "board"}, seconds_since=3.0,
    )  # fmt: skip
    assert headline(running).endswith(
        "(vgg19, gearnn-2): era, 2/6 epochs done, at least 1:15 of training left, process 7 on board, last epoch 0:03 ago"
    )
    assert headline(replace(running, state="stopped")).endswith(
        "stopped while era, 2/6 epochs done, no process is at work: go on with --resume"
    )
