"""The demo keeps its promises: this is the whole product on real images."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gearnn.cli import main


@pytest.mark.slow()
def test_digits_end_accurate_and_robust(tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GEARNN_DATA", raising=False)
    assert main(["demo", "--out", str(tmp_path), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    networks = {network["name"]: network for network in result["networks"]}
    assert result["clean_accuracy"] >= 0.98
    assert result["robust_accuracy"] >= 0.96
    assert networks["baseline"]["widths"] == result["widths_final"]
    assert result["robust_accuracy"] > networks["baseline"]["robust_accuracy"]
    assert (tmp_path / "report.html").stat().st_size > 100_000
