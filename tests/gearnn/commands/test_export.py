from __future__ import annotations

import json
import re

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from gearnn.cli import main
from gearnn.engine.runtimes import load_runtime
from gearnn.models import scaled_widths
from gearnn.network import Card, save_network

OWN = """
import torch
from torch import nn

def make():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3, stride=2), nn.ReLU(), nn.Flatten(), nn.Linear(196, 3))

def fails():
    raise RuntimeError("no such thing")

def other():
    return 3
"""


@pytest.fixture()
def own(tmp_path, monkeypatch):
    (tmp_path / "my_models.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def test_a_trained_network_that_takes_pixels(tmp_path, capsys):
    card = Card("mobilenet_v1", scaled_widths("mobilenet_v1", 1 / 16), ("a", "b"), (0.4,), (0.3,), 16, 1)
    save_network(tmp_path / "net.safetensors", card.build(), card)
    out = tmp_path / "net.onnx"
    assert main(["export", str(tmp_path / "net.safetensors"), "--out", str(out), "--uint8", "--opset", "17", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["opset"], facts["comparison"]["top1_agreement"]) == (17, 1.0)
    with load_runtime(out) as runtime:
        assert (runtime.layout, runtime.input_shape) == ("NHWC", (None, 16, 16, 1))
    assert main(["export", str(tmp_path / "net.safetensors"), "--shape", "3", "8", "8"]) == 2
    assert "leave it out" in capsys.readouterr().err


def test_a_module_of_ones_own(own, capsys):
    import my_models

    model = my_models.make()
    with torch.no_grad():
        model[0].weight.mul_(2)
    save_file(model.state_dict(), "net.safetensors")
    arguments = ["export", "my_models:make", "--shape", "3", "16", "16", "--classes", "x", "y", "z", "--out", "own.onnx"]
    assert main([*arguments, "--weights", "net.safetensors", "--batch", "2"]) == 0
    images = np.random.default_rng(0).random((2, 3, 16, 16), dtype=np.float32)
    with load_runtime("own.onnx") as runtime, torch.no_grad():
        assert json.loads(runtime.metadata["classes"]) == ["x", "y", "z"]
        np.testing.assert_allclose(runtime.run(images), model(torch.from_numpy(images)).numpy(), atol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["my_models:make"], "--shape is needed for my_models:make"),
        (["my_models:fails", "--shape", "3", "16", "16"], "my_models:fails gave no network .RuntimeError: no such thing."),
        (["my_models:none", "--shape", "3", "16", "16"], "my_models:none gave no network"),
        (["no_module:make", "--shape", "3", "16", "16"], "no_module:make gave no network"),
        (["my_models:other", "--shape", "3", "16", "16"], "returned a int"),
        (["my_models:make", "--shape", "3", "9", "9"], "does not run on float32 images"),
        (["my_models:make", "--shape", "3", "16", "16", "--weights", "other.safetensors"], "are not those of my_models:make"),
    ],
)
def test_mistakes_are_one_sentence(own, capsys, arguments, message):
    save_file({"0.weight": torch.ones(2)}, "other.safetensors")
    assert main(["export", *arguments, "--out", "out.onnx"]) == 2
    printed = capsys.readouterr().err
    assert re.search(message, printed)
    assert printed.count("\n") == 1
    assert not (own / "out.onnx").exists()
