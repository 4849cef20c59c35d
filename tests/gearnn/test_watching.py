from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, Dict, List

import pytest

from gearnn.errors import UserError
from gearnn.lock import NAME
from gearnn.watching import Status, follow, read_status

ELSEWHERE = {"pid": 7, "host": "another-host", "since": "2026-01-01 00:00:00", "started": None}


@pytest.fixture()
def copied(tiny_run: Path, tmp_path: Path) -> Path:
    """A finished run to change."""
    return shutil.copytree(tiny_run, tmp_path / "run")


def _cut(folder: Path, rows: int, phase: int, at_work: bool = True) -> None:
    """Make it look as after so many epochs, in that phase."""
    (folder / "result.json").unlink()
    path = folder / "checkpoint" / "last.safetensors"
    kept = (folder / "metrics.jsonl").read_text().splitlines(keepends=True)[:rows]
    (folder / "metrics.jsonl").write_text("".join(kept))
    header, tail = _header(path)
    progression = json.loads(header["__metadata__"]["progression"])
    progression.update(phase=phase, phases=progression["phases"][:phase])
    header["__metadata__"]["progression"] = json.dumps(progression)
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + tail)
    if at_work:
        (folder / NAME).write_text(json.dumps(ELSEWHERE))


def _header(path: Path) -> Any:
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def _contents(folder: Path) -> Dict[Path, Any]:
    return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.rglob("*") if path.is_file()}


def test_a_finished_run(tiny_run: Path) -> None:
    before = _contents(tiny_run)
    status = read_status(tiny_run)
    result = json.loads((tiny_run / "result.json").read_text())
    assert (status.state, status.activity, status.process, status.seconds_left) == ("finished", "finished", None, None)
    assert (status.clean_accuracy, status.robust_accuracy) == (result["clean_accuracy"], result["robust_accuracy"])
    assert [(phase.name, phase.state, phase.done, phase.epochs) for phase in status.phases] == [
        ("seed", "done", 6, 6), ("growth", "done", 1, 1), ("regrow", "done", 2, 2), ("era", "done", 6, 6),
    ]  # fmt: skip
    assert [phase.seconds for phase in status.phases] == [record["seconds"] for record in result["phases"]]
    assert _contents(tiny_run) == before


def test_a_run_at_work_tells_where_it_is_and_what_is_left(copied: Path) -> None:
    _cut(copied, rows=8 + 2, phase=3)
    rows = [json.loads(line) for line in (copied / "metrics.jsonl").read_text().splitlines()]
    ended = (copied / "metrics.jsonl").stat().st_mtime
    status = read_status(copied, now=ended)
    assert (status.state, status.activity, status.epoch, status.epochs) == ("running", "era", 2, 6)
    assert status.process == {"pid": "7", "host": "another-host", "since": "2026-01-01 00:00:00"}
    assert [phase.state for phase in status.phases] == ["done", "done", "done", "running"]
    mean = (rows[-1]["seconds"] + rows[-2]["seconds"]) / 2
    assert status.seconds_left == pytest.approx(4 * mean) and not status.at_least
    assert read_status(copied, now=ended + 1e6).seconds_left == 0


def test_before_growth_what_is_left_is_a_lower_bound(copied: Path) -> None:
    _cut(copied, rows=3, phase=0)
    rows = [json.loads(line) for line in (copied / "metrics.jsonl").read_text().splitlines()]
    status = read_status(copied, now=(copied / "metrics.jsonl").stat().st_mtime)
    each = sum(row["seconds"] for row in rows) / 3
    assert status.seconds_left == pytest.approx(each * (3 + 2) + each * 3 * 6)  # three views
    assert status.at_least


def test_a_stopped_run_and_what_is_not_there_yet(copied: Path, tmp_path: Path) -> None:
    _cut(copied, rows=4, phase=0, at_work=False)
    status = read_status(copied)
    assert (status.state, status.activity, status.epoch, status.seconds_left) == ("stopped", "seed", 4, None)
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / NAME).write_text(json.dumps(ELSEWHERE))
    early = read_status(tmp_path / "new")
    assert (early.state, early.activity, early.phases, early.rows) == ("running", "preparing", (), ())
    for nothing in (tmp_path / "absent", tmp_path):
        with pytest.raises(UserError, match="there is no run in"):
            read_status(nothing)


def test_damaged_files_and_other_versions_are_lived_with(copied: Path) -> None:
    _cut(copied, rows=3, phase=0)
    (copied / "checkpoint" / "last.safetensors").write_bytes(b"\xff" * 20)
    assert read_status(copied).phases[2].state == "done"  # by the checkpoint before
    shutil.rmtree(copied / "checkpoint")
    (copied / "config.json").write_text('{"arch": "v\\u001bgg", "epochs": 3, "new_option": 1}')
    with (copied / "metrics.jsonl").open("a") as stream:
        stream.write('{"phase": "era", "epoch": 1, "loss": NaN, "seconds": [1]}\n{"phase": 1}\n[]\n{"pha')
    status = read_status(copied)
    assert status.arch == "v�gg"
    assert [(phase.name, phase.state, phase.done) for phase in status.phases] == [("seed", "done", 3), ("era", "running", 1)]
    assert status.rows[-1]["loss"] is None and status.seconds_left is None


def test_follows_a_run_to_its_end(copied: Path, tiny_run: Path) -> None:
    _cut(copied, rows=2, phase=0)
    seen: List[Status] = []

    def finish(seconds: float) -> None:
        assert seconds == 0.5
        shutil.copy(tiny_run / "metrics.jsonl", copied / "metrics.jsonl")
        if len(seen) == 2:
            shutil.copy(tiny_run / "result.json", copied / "result.json")
            (copied / NAME).unlink()

    last = follow(copied, 0.5, seen.append, finish)
    assert [len(status.rows) for status in seen] == [2, 14, 14]
    assert [status.state for status in seen] == ["running", "running", "finished"] and seen[-1] is last
