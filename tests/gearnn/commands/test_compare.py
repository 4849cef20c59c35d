from __future__ import annotations

import json

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from PIL import Image

from gearnn.cli import main
from gearnn.measure import deploy, random_images
from gearnn.models import scaled_widths
from gearnn.network import Card, save_network


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A network in torch, as ONNX, as ONNX that takes pixels, and with one layer changed."""
    folder = tmp_path_factory.mktemp("net")
    torch.manual_seed(0)
    card = Card("vgg19", scaled_widths("vgg19", 1 / 16), ("a", "b"), (0.4,) * 3, (0.3,) * 3, 32, 3)
    model = card.build()
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.bias.uniform_(-0.3, 0.3)
    save_network(folder / "net.safetensors", model, card)
    for name, pixels in (("net", False), ("pixels", True)):
        deploy(folder / "net.safetensors", folder / f"{name}.onnx", random_images((3, 32, 32), 0, 4), 1, pixels=pixels)
    changed = onnx.load(str(folder / "net.onnx"))
    node = [node for node in changed.graph.node if node.op_type == "Conv"][5]
    weight = next(entry for entry in changed.graph.initializer if entry.name == node.input[1])
    weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight) * np.float32(1.2), weight.name))
    onnx.save(changed, str(folder / "changed.onnx"))
    return folder, node.name


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("net.safetensors", "net.onnx"),
        ("net.onnx", "net.safetensors"),
        ("net.onnx", "pixels.onnx"),
        ("pixels.onnx", "net.safetensors"),
    ],
)
def test_any_pair_agrees(files, capsys, first, second):
    folder, _ = files
    assert main(["compare", str(folder / first), str(folder / second), "--limit", "16", "--threads", "1", "--check"]) == 0
    shown = capsys.readouterr().out
    assert "same class 100.00%" in shown
    assert "none of" in shown


def test_names_the_layer_where_they_part(files, capsys):
    folder, name = files
    arguments = ["compare", str(folder / "net.safetensors"), str(folder / "changed.onnx"), "--limit", "16", "--threads", "1"]
    assert main(arguments) == 0
    assert f"they part at {name}, module 1.features" in capsys.readouterr().out
    assert main([*arguments, "--check", "--json"]) == 1
    results = json.loads(capsys.readouterr().out)["results"]
    assert results["parts_at"]["node"] == name
    assert results["relative"] > 1e-3
    assert not results["agrees"]
    assert main([*arguments, "--check", "--tolerance", "100"]) == 0


def test_on_pictures(files, tmp_path, capsys):
    folder, _ = files
    for part in ("train", "test"):
        for label in "ab":
            (tmp_path / part / label).mkdir(parents=True)
            for number in range(3):
                pixels = np.random.default_rng(number).integers(0, 256, (40, 36, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(tmp_path / part / label / f"{number}.png")
    assert main(["compare", str(folder / "net.onnx"), str(folder / "pixels.onnx"), "--data", str(tmp_path), "--no-layers"]) == 0
    assert "6 images (test images of" in capsys.readouterr().out


def test_mistakes_are_one_sentence(files, tmp_path, capsys):
    folder, _ = files
    card = Card("vgg19", scaled_widths("vgg19", 1 / 16), ("a", "b"), (0.4,), (0.3,), 32, 1)
    save_network(tmp_path / "grey.safetensors", card.build(), card)
    for pair in (["net.onnx", "gone.onnx"], ["net.onnx", str(tmp_path / "grey.safetensors")]):
        assert main(["compare", *(str(folder / name) for name in pair)]) == 2
        assert capsys.readouterr().err.count("\n") == 1
