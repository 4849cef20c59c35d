from __future__ import annotations

import json

import pytest
import torch
from torch import nn

from gearnn.cli import main
from gearnn.engine.export import export_onnx


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.Flatten(), nn.Linear(128, 3)).eval()
    return export_onnx(model, (3, 8, 8), tmp_path_factory.mktemp("net") / "net.onnx", pixels=True)


def test_prints_latency_memory_energy_and_layers(network, tmp_path, capsys):
    arguments = ["profile", str(network), "--iterations", "20", "--threads", "1", "--layers", "--energy-seconds", "0.3"]
    assert main([*arguments, "--trtexec", str(tmp_path / "layers.json")]) == 0
    shown = capsys.readouterr().out
    for expected in ("p50 ms", "memory: before", "energy: ", "Conv", "(0, 1)"):
        assert expected in shown
    content = json.loads((tmp_path / "layers.json").read_text())
    assert sum(entry["percentage"] for entry in content[1:]) == pytest.approx(100)


def test_json(network, capsys):
    arguments = ["profile", str(network), "--batch-sizes", "1", "4", "--iterations", "5", "--threads", "1", "--device", "cpu"]
    assert main([*arguments, "--energy-seconds", "0", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert [row["batch"] for row in printed["results"]] == [1, 4]
    assert printed["results"][0]["device_p50_ms"] is None
    assert (printed["layers"], printed["energy"], printed["metadata"]["runs_on"]) == (None, None, "cpu")
    assert printed["memory"]["resident_peak_mb"] >= printed["memory"]["resident_before_mb"]
    assert "warnings" in printed["metadata"]["board"]


@pytest.mark.parametrize(
    "wrong",
    [["--trtexec", "x.json"], ["--energy-seconds", "-1"], ["--device", "tpu"], ["--batch-sizes", "0"], ["--runtime", "magic"]],
)
def test_mistakes_are_one_sentence(network, capsys, wrong):
    assert main(["profile", str(network), *wrong]) == 2
    assert len([line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]) == 1
