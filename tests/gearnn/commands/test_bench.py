"""``gearnn bench``: tables, JSON, and what is refused."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import List

import pytest

from gearnn.cli import main


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GEARNN_DATA", raising=False)
    monkeypatch.setattr("gearnn.bench.augment.peak_growth_mb", lambda name, size, batch, seed: 1.0)
    monkeypatch.setattr("gearnn.bench.score.SHAPES", ((4, 3, 8, 8),))


def test_augment_prints_a_table_and_writes_json(capsys: pytest.CaptureFixture, tmp_path: Path) -> None:
    out = tmp_path / "new" / "bench.json"
    options = ["--sizes", "16", "--threads", "1", "--batch", "2", "--seconds", "0.01", "--seed", "3", "--out", str(out)]
    assert main(["bench", "augment", *options]) == 0
    shown = capsys.readouterr()
    saved = json.loads(out.read_text())
    assert set(saved) == {"metadata", "results", "skipped"}
    names = [row["name"] for row in saved["results"]]
    assert [line.split()[0] for line in shown.out.splitlines()[4:] if not line.startswith("skipped")] == names
    metadata = saved["metadata"]
    assert (metadata["seed"], metadata["threads"], metadata["seconds"]) == (3, [1], 0.01)
    assert metadata["pictures"].startswith("generated") and metadata["versions"]["numba"] and metadata["device"]["cores"]
    assert "clean view" in metadata["notes"]["images_per_s"] and "one thread" in metadata["notes"]["ratio_to_pillow"]
    assert "ERA 16x16, 1 thread: 100/100" in shown.err


def test_score_as_json(capsys: pytest.CaptureFixture) -> None:
    assert main(["bench", "score", "--threads", "1", "--seconds", "0.01", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert {row["name"] for row in report["results"]} == {"fused", "torch"} and report["metadata"]["notes"]["gb_per_s"]
    assert main(["bench", "score", "--threads", "1", "--seconds", "0.01"]) == 0
    assert "against torch" in capsys.readouterr().out


def test_what_is_skipped_is_said(capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gearnn.bench.augment.skipped", lambda device: [{"name": "kornia", "reason": "kornia is not installed"}])
    assert main(["bench", "augment", "--sizes", "16", "--threads", "2", "--batch", "2", "--seconds", "0.01"]) == 0
    shown = capsys.readouterr().out
    assert re.search(r"^era +16 +2 .* one-thread \d+\.\d\dx, pillow", shown, re.MULTILINE)
    assert "skipped: kornia, kornia is not installed" in shown and "kornia 1" not in shown


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["augment", "--batch", "0"], "--batch must be at least 1"),
        (["augment", "--seconds", "nan"], "--seconds must be above 0"),
        (["augment", "--sizes", "32", "4"], "--sizes must be at least 8"),
        (["score", "--sizes", "32"], "are for gearnn bench augment"),
        (["score", "--seed", "-1"], "--seed must be 0 or more"),
        (["--seconds", "1", "growth"], "gearnn bench growth has options of its own"),
    ],
)
def test_nonsense_is_refused(arguments: List[str], message: str, capsys: pytest.CaptureFixture) -> None:
    assert main(["bench", *arguments]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["speed"]])
def test_what_to_time_must_be_said(arguments: List[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["bench", *arguments])
    assert stopped.value.code == 2
