from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, Dict

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from gearnn.cli import main
from gearnn.engine.manifest import onnx_manifest, read_manifest, write_manifest
from gearnn.robustness import EXTRA_CORRUPTIONS


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Generated images are kept here."""
    folder = tmp_path / "corruptions"
    monkeypatch.setenv("GEARNN_CORRUPTION_CACHE", str(folder))
    return folder


@pytest.fixture()
def spoilt(tiny_run: Path, tmp_path: Path) -> Path:
    """The run's network with a classifier that has lost its way, and a manifest."""
    model = onnx.load(str(tiny_run / "model.onnx"))
    node = next(node for node in model.graph.node if node.op_type == "Gemm")
    weight = next(entry for entry in model.graph.initializer if entry.name == node.input[1])
    rows = numpy_helper.to_array(weight)
    weight.CopyFrom(numpy_helper.from_array(np.roll(rows, 1, axis=0), weight.name))
    path = tmp_path / "spoilt.onnx"
    onnx.save(model, str(path))
    write_manifest(path, onnx_manifest(path, "fp32", "", ready=True))
    return path


def data_of(tiny_run: Path) -> str:
    return str(tiny_run.parent / "gratings.npz")


def test_an_engine_against_another_marks_its_manifest(tiny_run: Path, spoilt: Path, capsys: pytest.CaptureFixture) -> None:
    common = ["--data", data_of(tiny_run), "--severities", "3", "--corruptions", "fog", "contrast", "--threads", "1"]
    assert main(["evaluate", str(spoilt), "--against", str(tiny_run), *common, "--json"]) == 1
    verdict = json.loads(capsys.readouterr().out)["verdict"]
    assert verdict["clean_drop"] > 1
    assert set(verdict["per_corruption_drop"]) == {"fog", "contrast"}
    assert read_manifest(spoilt).ready is False
    assert main(["evaluate", str(spoilt), "--against", str(tiny_run), *common, "--max-drop", "100"]) == 0
    assert "points below" in capsys.readouterr().out
    assert read_manifest(spoilt).ready is True


def test_against_itself_nothing_drops(tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    copy = Path(shutil.copy(tiny_run / "model.onnx", tmp_path / "copy.onnx"))
    arguments = [
        "evaluate",
        str(copy),
        "--data",
        data_of(tiny_run),
        "--against",
        str(tiny_run / "model.safetensors"),
        "--severities",
        "1",
    ]
    assert main([*arguments, "--threads", "1", "--device", "cpu", "--json"]) == 0
    verdict = json.loads(capsys.readouterr().out)["verdict"]
    assert (verdict["clean_drop"], verdict["ready"]) == (0, True)


def evaluated(capsys: pytest.CaptureFixture, *arguments: str) -> Dict[str, Any]:
    assert main(["evaluate", *arguments, "--threads", "1", "--device", "cpu", "--json"]) == 0
    return dict(json.loads(capsys.readouterr().out))


def test_extra_corruptions_intervals_and_calibration(tiny_run: Path, cache: Path, capsys: pytest.CaptureFixture) -> None:
    common = [str(tiny_run), "--corruptions", "fog", "contrast", "--severities", "2", "5"]
    found = evaluated(capsys, *common, "--extra")
    assert list(found["per_corruption"]) == ["fog", "contrast"]
    assert list(found["per_corruption_extra"]) == list(EXTRA_CORRUPTIONS)
    assert found["clean_interval"][0] <= found["clean"] <= found["clean_interval"][1]
    assert 0 < found["clean_ece"] < 1 and 0 < found["robust_ece"] < 1
    assert (found["kind"], found["parameters"], found["official"], found["mce"]) == ("generated", "cifar", None, None)
    kept = {path.name: path.stat().st_ino for path in cache.iterdir()}
    assert len(kept) == 12
    again = evaluated(capsys, str(tiny_run / "model.safetensors"), *common[1:], "--data", data_of(tiny_run))
    assert again["robust"] == pytest.approx(found["robust"], abs=0.02)
    assert again["extra"] is None
    assert {path.name: path.stat().st_ino for path in cache.iterdir()} == kept
    assert main(["evaluate", *common, "--extra", "--threads", "1"]) == 0
    printed = capsys.readouterr().out
    for part in ("severity", "fog", "mean ", "extra corruptions", "saturate", "ECE 0.", "generated with the cifar parameters"):
        assert part in printed


def test_a_baseline_gives_mce(tiny_run: Path, spoilt: Path, capsys: pytest.CaptureFixture) -> None:
    common = ["--data", data_of(tiny_run), "--baseline", str(spoilt), "--corruptions", "snow", "fog", "--severities", "1", "5"]
    found = evaluated(capsys, str(tiny_run), *common)
    assert 0 < found["mce"] < 1
    assert found["baseline"] == str(spoilt)
    assert evaluated(capsys, str(spoilt), *common)["mce"] == pytest.approx(1)
    # the gate looks at --against, not at the baseline
    assert main(["evaluate", str(tiny_run), *common, "--against", str(tiny_run), "--threads", "1", "--max-drop", "0"]) == 0
    printed = capsys.readouterr().out
    assert "mCE" in printed and "against" in printed and "baseline " not in printed


def test_nothing_is_kept_where_that_is_asked_for(tiny_run: Path, cache: Path, capsys: pytest.CaptureFixture) -> None:
    common = [str(tiny_run), "--corruptions", "fog", "--severities", "1"]
    evaluated(capsys, *common, "--corruption-cache", "off")
    assert not cache.exists()
    evaluated(capsys, *common, "--corruption-cache", str(cache.parent / "other"))
    assert not cache.exists() and len(list((cache.parent / "other").iterdir())) == 1
    assert main(["evaluate", *common, "--cache-limit", "-1"]) == 2
    assert "--cache-limit" in capsys.readouterr().err


def test_official_files_must_fit_the_network(tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    np.save(tmp_path / "labels.npy", np.zeros(50_000, np.int64))
    assert main(["evaluate", str(tiny_run), "--official", str(tmp_path), "--threads", "1"]) == 2
    told = capsys.readouterr().err
    assert "32 × 32" in told.replace("\n", " ")


def test_an_unknown_corruption_is_an_error_beside_the_extra_ones_too(tiny_run: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["evaluate", str(tiny_run), "--corruptions", "fogg", "--extra", "--threads", "1"]) == 2
    assert "did you mean fog" in capsys.readouterr().err
