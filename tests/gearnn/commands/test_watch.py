from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from gearnn.cli import main


def test_a_finished_run_is_told_and_left(tiny_run: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["watch", str(tiny_run)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 14 + 1 + 1 and lines[0].startswith("seed 1/6: loss ") and ": finished, clean " in lines[-1]
    assert main(["watch", str(tiny_run), "--once"]) == 0
    assert capsys.readouterr().out.splitlines() == lines


def test_json(tiny_run: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["watch", str(tiny_run), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["state"], len(found["rows"]), found["phases"][-1]["name"]) == ("finished", 14, "era")


def test_a_stopped_run_is_exit_code_2(tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    run = shutil.copytree(tiny_run, tmp_path / "run")
    (run / "result.json").unlink()
    assert main(["watch", str(run), "--interval", "0.01"]) == 2
    assert "no process is at work" in capsys.readouterr().out
    assert main(["watch", str(run), "--once"]) == 0


def test_on_a_terminal_it_is_one_picture(tiny_run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    assert main(["watch", str(tiny_run)]) == 0
    assert "█" in capsys.readouterr().out


def test_mistakes_are_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    for arguments, message in (([str(tmp_path)], "there is no run in"), (["x", "--interval", "0"], "--interval must be above 0")):
        assert main(["watch", *arguments]) == 2
        printed = capsys.readouterr().err
        assert message in printed and printed.count("\n") == 1


def test_tensorboard(tiny_run: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    assert main(["watch", str(tiny_run), "--tensorboard", str(tmp_path / "logs")]) == 0
    assert len(list((tmp_path / "logs").iterdir())) == 1
