from __future__ import annotations

import json
from pathlib import Path

import pytest

from gearnn.cli import main


@pytest.fixture()
def two_runs(tmp_path: Path) -> list:
    for name, accuracy in (("a", 0.5), ("b", 0.75)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "result.json").write_text(json.dumps({"arch": "vgg19", "clean_accuracy": accuracy}), encoding="utf-8")
        (tmp_path / name / "config.json").write_text(json.dumps({"seed": accuracy}), encoding="utf-8")
    return [str(tmp_path / "a"), str(tmp_path / "b")]


def test_writes_the_page_and_prints_the_figures(two_runs: list, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    page = tmp_path / "page.html"
    assert main(["compare-runs", *two_runs, "--out", str(page), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["report"] == str(page) and [run["clean_accuracy"] for run in told["runs"]] == [0.5, 0.75]
    assert told["runs"][0]["latency_ms_p50"] is None and told["options"] == {"seed": ["0.5", "0.75"]}
    assert "2 runs" in page.read_text(encoding="utf-8")


def test_by_default_the_page_lies_here(
    two_runs: list, tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["compare-runs", *two_runs]) == 0
    assert capsys.readouterr().out == "compare.html\n" and (tmp_path / "compare.html").is_file()


@pytest.mark.parametrize("chosen", [["a"], ["a", "a"], ["a", "nothing"]])
def test_errors_are_one_sentence(two_runs: list, tmp_path: Path, capsys: pytest.CaptureFixture, chosen: list) -> None:
    folders = [str(tmp_path / name) for name in chosen]
    assert main(["compare-runs", *folders, "--out", str(tmp_path / "page.html")]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ") and said.count("\n") == 1
    assert not (tmp_path / "page.html").exists()
