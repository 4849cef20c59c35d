from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from gearnn.cli import main
from gearnn.engine.manifest import onnx_manifest, read_manifest, write_manifest


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
