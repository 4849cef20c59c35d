"""Running cells, with small scripts in the place of training runs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, Callable, List, Sequence

import pytest

from benchmarks.evidence import runner
from benchmarks.evidence.cells import Cell, cells_of, error_path, log_path
from benchmarks.evidence.rows import rows_named
from benchmarks.evidence.runner import Outcome, Stopped, alone, run_cells
from benchmarks.evidence.scales import scale_named
from benchmarks.evidence.watch import Watch
from gearnn.errors import UserError

SMOKE = scale_named("smoke")
Script = Callable[[str], None]

# Writes the result it is given, unless told otherwise by the name of its folder.
STAND_IN = """
import json, os, pathlib, signal, sys, time
words = sys.argv[1:]
out = pathlib.Path(words[words.index("--out") + 1])
print("resumed" if "--resume" in words else "new", flush=True)
{behaviour}
(out / "result.json").write_text(json.dumps({result}))
"""


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, make_result: Callable[..., Any]) -> Script:
    """Sets what the cells' processes do before they write their result."""

    def use(behaviour: str) -> None:
        script = tmp_path / "stand_in.py"
        script.write_text(STAND_IN.format(behaviour=behaviour, result=repr(make_result())))
        monkeypatch.setattr(runner, "command", lambda arguments: [sys.executable, "-S", str(script), *arguments])

    monkeypatch.setattr(runner, "_POLL_SECONDS", 0.02)
    return use


def _cells(out: Path, rows: Sequence[str] = ("small-clean", "small-era"), seeds: Sequence[int] = (0,)) -> List[Cell]:
    return cells_of(SMOKE.arenas, rows_named(rows), seeds, out)


def _run(cells: List[Cell], retry: bool = False, jobs: int = 1) -> Outcome:
    return run_cells(cells, SMOKE, {}, jobs=jobs, retry=retry, watch=Watch(cells, jobs), finished=lambda: None)


def test_missing_cells_are_run_in_order_and_done_ones_never_again(stand_in: Script, tmp_path: Path) -> None:
    stand_in("")
    cells = _cells(tmp_path, seeds=(0, 1))
    outcome = _run(cells[:3])
    assert [cell.name for cell in outcome.ran] == [cell.name for cell in cells[:3]]
    assert all(cell.state == "done" for cell in cells[:3])
    written = [(cell.folder / "result.json").stat().st_mtime_ns for cell in cells[:3]]
    assert [cell.name for cell in _run(cells).ran] == [cells[3].name]
    assert written == [(cell.folder / "result.json").stat().st_mtime_ns for cell in cells[:3]]


def test_failures_keep_their_message_and_wait_for_retry(stand_in: Script, tmp_path: Path) -> None:
    stand_in("print('error: no memory'); print('a last line'); sys.exit(2)")
    cells = _cells(tmp_path)
    outcome = _run(cells)
    assert outcome.failed == {cell.name: "no memory" for cell in cells}  # the second was run all the same
    assert error_path(cells[0]).read_text() == "no memory\n"
    stand_in("")
    assert _run(cells).ran == []
    assert len(_run(cells, retry=True).ran) == 2
    assert [cell.state for cell in cells] == ["done", "done"]
    assert not error_path(cells[0]).exists()


def test_a_killed_cell_has_not_failed_and_goes_on_in_the_next_call(
    stand_in: Script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in("(out / 'config.json').write_text('{}'); os.kill(os.getpid(), signal.SIGKILL)")
    monkeypatch.setattr(runner, "check_same", lambda cell, arguments: None)
    cells = _cells(tmp_path, ["small-clean"])
    assert "signal 9" in _run(cells).failed[cells[0].name]
    assert cells[0].state == "started"
    stand_in("")
    _run(cells)
    assert cells[0].state == "done"
    assert log_path(cells[0]).read_text().split() == ["new", "resumed"]


def test_several_at_a_time(stand_in: Script, tmp_path: Path) -> None:
    # Each waits until the other has begun: one after the other they would never end.
    stand_in(
        "here = out.parents[3] / 'begun'; here.mkdir(exist_ok=True); (here / str(os.getpid())).touch()\n"
        "end = time.time() + 60\n"
        "while len(list(here.iterdir())) < 2 and time.time() < end: time.sleep(0.01)\n"
        "assert len(list(here.iterdir())) == 2"
    )
    cells = _cells(tmp_path / "out")
    _run(cells, jobs=2)
    assert [cell.state for cell in cells] == ["done", "done"]


def test_cells_whose_length_others_decide_come_after_them(stand_in: Script, tmp_path: Path) -> None:
    stand_in("")
    cells = _cells(tmp_path, ["gearnn-1-equal-time"])
    outcome = _run(cells[::-1])
    assert [cell.row.name for cell in outcome.ran] == ["gearnn-2", "gearnn-1", "gearnn-1-equal-time"]
    assert outcome.waiting == []


def test_cells_whose_length_stays_unknown_are_reported(stand_in: Script, tmp_path: Path) -> None:
    stand_in("sys.exit(1)")
    outcome = _run(_cells(tmp_path, ["gearnn-1-equal-time"]))
    assert [cell.row.name for cell in outcome.waiting] == ["gearnn-1-equal-time"]


def test_interrupts_end_the_processes(stand_in: Script, tmp_path: Path) -> None:
    stand_in("(out / 'pid').write_text(str(os.getpid())); time.sleep(120)")
    cells = _cells(tmp_path)
    pid = cells[0].folder / "pid"

    def interrupt() -> None:
        end = time.monotonic() + 60
        while not (pid.exists() and pid.read_text()) and time.monotonic() < end:
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=interrupt).start()
    with pytest.raises(Stopped, match="SIGTERM"):
        _run(cells)
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)
    assert cells[0].state == "missing"
    assert signal.getsignal(signal.SIGTERM) is not None


def test_the_data_set_of_the_surroundings_is_not_the_cells(
    stand_in: Script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GEARNN_DATA", "/elsewhere")
    stand_in("print(os.environ.get('GEARNN_DATA'))")
    cells = _cells(tmp_path, ["small-clean"])
    _run(cells)
    assert log_path(cells[0]).read_text().split() == ["new", "None"]


def test_one_harness_at_a_time(tmp_path: Path) -> None:
    with alone(tmp_path / "new"), pytest.raises(UserError, match=f"at work in .*{os.getpid()}"), alone(tmp_path / "new"):
        pass
    with alone(tmp_path / "new"):
        pass


def test_the_lock_of_a_killed_harness_is_stale_at_once(tmp_path: Path) -> None:
    holder = (
        "import fcntl, sys, time; f = open(sys.argv[1], 'a+'); fcntl.flock(f, fcntl.LOCK_EX); print(1, flush=True); "
        "time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-S", "-c", holder, str(tmp_path / "lock")], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    with pytest.raises(UserError, match="another harness"), alone(tmp_path):
        pass
    process.kill()
    process.wait()
    process.stdout.close()
    with alone(tmp_path):
        assert (tmp_path / "lock").read_text().strip() == str(os.getpid())


def test_attempts_are_kept_with_the_cell(stand_in: Script, tmp_path: Path) -> None:
    stand_in("")
    cells = _cells(tmp_path, ["small-clean"])
    _run(cells)
    assert json.loads((cells[0].folder / "attempts.json").read_text())[0]["seconds"] >= 0
