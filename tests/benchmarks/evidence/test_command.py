"""The harness as a person meets it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import List

import pytest

from benchmarks.evidence.cells import cells_of
from benchmarks.evidence.command import main
from benchmarks.evidence.rows import ROWS, rows_named
from benchmarks.evidence.scales import SCALES, scale_named

ROOT = Path(__file__).resolve().parents[3]
SMOKE = scale_named("smoke")


@pytest.fixture(autouse=True)
def no_data(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever this machine has."""
    monkeypatch.delenv("GEARNN_DATA", raising=False)


def test_help_has_examples(capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["--help"])
    assert stopped.value.code == 0
    shown = capsys.readouterr().out
    assert "python -m benchmarks.evidence --scale cpu-small" in shown
    assert all(option in shown for option in ("--jobs", "--json", "--dry-run", "--table-only", "--retry"))


def test_list_names_scales_and_rows(capsys: pytest.CaptureFixture) -> None:
    assert main(["--list"]) == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in (*SCALES, *ROWS))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "needs the data set cifar10: name its folder with --data cifar10=PATH"),
        (["--scale", "huge"], "no scale called 'huge'"),
        (["--rows", "gearnn-3"], "no row called 'gearnn-3'"),
        (["--reference", "gearnn-3"], "no row called 'gearnn-3'"),
        (["--arenas", "digits"], "no arena called 'digits'"),
        (["--rows", "found"], "there are no cells"),
        (["--jobs", "0"], "--jobs must be at least 1"),
        (["--data", "absent"], "NAME=PATH"),
        (["--data", "mnist=absent"], "NAME=PATH"),
        (["--data", "cifar10=absent"], "absent"),
    ],
)
def test_mistakes_get_one_sentence_and_exit_code_2(
    arguments: List[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    here = [] if not arguments or "--data" in arguments or "--scale" in arguments else ["--scale", "smoke"]
    assert main([*here, *arguments, "--out", str(tmp_path)]) == 2
    shown = capsys.readouterr().err
    assert message in shown
    assert len(shown.strip().splitlines()) == 1


def test_a_folder_that_cannot_be_written_to(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / "file").write_text("in the way")
    assert main(["--scale", "smoke", "--out", str(tmp_path / "file")]) == 2
    assert "cannot write" in capsys.readouterr().err


def test_torn_results_stop_the_table(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    cell = cells_of(scale_named("smoke").arenas, [ROWS["small-clean"]], [0], tmp_path)[0]
    cell.folder.mkdir(parents=True)
    (cell.folder / "result.json").write_text('{"networks": [')
    assert main(["--scale", "smoke", "--out", str(tmp_path), "--table-only"]) == 2
    assert "result.json is torn" in capsys.readouterr().err


def test_data_sets_that_were_not_named_are_left_out(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["--scale", "paper", "--data", f"cifar100={tmp_path}", "--out", str(tmp_path / "out"), "--dry-run"]) == 0
    commands = capsys.readouterr().out.splitlines()
    rows = len(rows_named(scale_named("paper").rows))
    assert len(commands) == 3 * 3 * rows
    assert all(str(tmp_path) in command for command in commands)
    assert not (tmp_path / "out").exists()


def test_a_dry_run_shows_what_it_cannot_know(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["--scale", "smoke", "--rows", "ours-small", "--out", str(tmp_path), "--dry-run"]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith(f"{sys.executable} -m gearnn run --preset default")
    assert second == "# mobilenet_v1-digits ours-small seed 0: its epochs are known once ours are done"


def test_an_empty_table_is_written_and_is_not_whole(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["--scale", "smoke", "--out", str(tmp_path), "--table-only", "--json"]) == 1
    table = json.loads(capsys.readouterr().out)
    assert table["cells"]["done"] == 0
    assert "0 of 2 cells are done" in (tmp_path / "table.md").read_text(encoding="utf-8")
    assert json.loads((tmp_path / "table.json").read_text(encoding="utf-8")) == table


@pytest.mark.slow
def test_a_killed_harness_goes_on_with_the_rest_only(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.evidence", "--scale", "smoke", "--out", str(tmp_path)]
    first, second = (cell.folder for cell in cells_of(SMOKE.arenas, rows_named(SMOKE.rows), SMOKE.seeds, tmp_path))
    harness = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, start_new_session=True)
    deadline = time.monotonic() + 500
    while not (second / "config.json").exists() and time.monotonic() < deadline:
        assert harness.poll() is None, harness.stderr and harness.stderr.read().decode()
        time.sleep(0.05)
    os.kill(harness.pid, signal.SIGKILL)  # the harness alone, while its second cell trains
    harness.communicate()
    assert (first / "result.json").exists()
    assert not (second / "result.json").exists()
    table = json.loads((tmp_path / "table.json").read_text(encoding="utf-8"))
    assert (table["cells"]["done"], table["cells"]["asked"]) == (1, 2)
    written = (first / "result.json").stat().st_mtime_ns

    again = subprocess.run([*command, "--json"], cwd=ROOT, capture_output=True, text=True, timeout=500)
    assert again.returncode == 0, again.stderr
    assert "1 cells are done, 1 are to be run" in again.stderr
    assert (first / "result.json").stat().st_mtime_ns == written
    table = json.loads(again.stdout)
    assert (table["cells"]["done"], table["cells"]["failed"]) == (2, [])
    assert [row["row"] for row in table["arenas"][0]["rows"]] == ["small-clean", "gearnn-2"]
    assert len(json.loads((second / "attempts.json").read_text(encoding="utf-8"))) == 2
