from __future__ import annotations

import json

import pytest

from gearnn.cli import main


def test_prints_and_writes_json(tmp_path, capsys):
    arguments = ["bench", "engine", "--networks", "mobilenet_v1", "--threads", "1", "--width", "0.0625", "--seconds", "0.05"]
    assert main([*arguments, "--json", "--out", str(tmp_path / "bench.json")]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == json.loads((tmp_path / "bench.json").read_text())
    assert {"eager", "engine", "bare"} <= {row["name"] for row in printed["results"]}
    assert printed["metadata"]["versions"]["onnxruntime"]
    assert main(arguments) == 0
    assert "us over bare" in capsys.readouterr().out


@pytest.mark.parametrize("wrong", [["--device", "cuda"], ["--threads", "0"], ["--seconds", "0"], ["--networks", "lenet"]])
def test_mistakes_are_one_sentence(capsys, wrong):
    assert main(["bench", "engine", *wrong]) == 2
    assert len([line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]) == 1
