"""The scripts in examples/, run as they are on little data."""

from __future__ import annotations

import re
import runpy
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "examples"
SCRIPTS = sorted(FOLDER.glob("*.py"))


def _run(name: str, arguments: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", [name, *arguments.split()])
    monkeypatch.delenv("GEARNN_DATA", raising=False)
    runpy.run_path(str(FOLDER / name), run_name="__main__")


def test_there_are_three_and_each_is_short() -> None:
    assert [script.name for script in SCRIPTS] == ["engine_only.py", "era_in_my_loop.py", "grow_my_network.py"]
    for script in SCRIPTS:
        lines = script.read_text(encoding="utf-8").splitlines()
        assert len(lines) < 60, script.name
        assert any(f"python examples/{script.name}" in line for line in lines), f"{script.name} does not say how to run it"


def test_era_in_my_loop_learns(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    _run("era_in_my_loop.py", "--epochs 8 --limit 400", monkeypatch)
    clean, robust, n = map(float, re.findall(r"[\d.]+", capsys.readouterr().out))
    assert n == 359
    assert clean > 50
    assert 30 < robust <= clean


def test_grow_my_network_keeps_the_function_and_gains(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    _run("grow_my_network.py", "--epochs 1", monkeypatch)
    shown = capsys.readouterr().out
    before, after = (float(figure) for figure in re.findall(r"network: ([\d.]+)%", shown))
    assert after > before
    assert any(int(now) > int(then) for then, now in re.findall(r"(\d+) → (\d+) channels", shown))
    assert float(re.search(r"differ by at most (\S+)", shown).group(1)) < 1e-5  # type: ignore[union-attr]


def test_engine_only_writes_two_files_that_agree(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    _run("engine_only.py", f"--out {tmp_path / 'engine'}", monkeypatch)
    sizes = {path.name: path.stat().st_size for path in (tmp_path / "engine").glob("*.onnx")}
    assert sizes["model.int8.onnx"] < 0.35 * sizes["model.onnx"]
    fp32, int8 = (float(figure) for figure in re.findall(r"differ by at most (\S+)", capsys.readouterr().out))
    assert fp32 < 1e-4 < int8 < 1e-1
