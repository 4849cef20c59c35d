from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from gearnn.cli import main
from gearnn.engine.export import export_onnx


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2), nn.ReLU(), nn.Flatten(), nn.Linear(36, 3)).eval()
    path = tmp_path_factory.mktemp("net") / "net.onnx"
    return export_onnx(model, (3, 8, 8), path, metadata={"classes": '["cat", "dog", "emu"]'})


@pytest.fixture()
def photos(tmp_path):
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    generator = np.random.default_rng(0)
    for name in ("b.png", "a.jpg", "more/c.bmp"):
        Image.fromarray(generator.integers(0, 256, (12, 9, 3), dtype=np.uint8)).save(folder / name)
    (folder / "notes.txt").write_text("not a picture")
    return folder


def test_prints_labels_of_files_and_folders(network, photos, capsys):
    assert main(["predict", str(network), str(photos), "--topk", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(": ")[0] for line in lines] == [str(photos / name) for name in ("a.jpg", "b.png", "more/c.bmp")]
    assert all(line.count("%") == 2 for line in lines)


def test_one_broken_picture_costs_only_itself(network, photos, capsys):
    (photos / "aa.png").write_bytes(b"no image at all")
    assert main(["predict", str(network), str(photos), "--json"]) == 2
    printed = capsys.readouterr()
    rows = json.loads(printed.out)["results"]
    assert [len(row["predictions"]) for row in rows] == [1, 0, 1, 1]
    assert 0 < rows[0]["predictions"][0]["probability"] <= 1
    assert printed.err.count("\n") == 1
    assert "aa.png cannot be used" in printed.err


def test_mistakes_are_one_sentence(network, tmp_path, capsys):
    for arguments in ([str(tmp_path)], ["gone.jpg", "--precision", "int8"], ["gone.jpg", "--topk", "0"]):
        assert main(["predict", str(network), *arguments]) == 2
        assert capsys.readouterr().err.count("\n") == 1


def test_what_is_missing_is_named(network, tmp_path, capsys):
    for arguments, message in (
        (["nope.zip", "x.jpg"], "make a bundle with gearnn bundle RUN"),
        (["nope", "x.jpg"], "there is no nope: give a bundle, a run folder"),
        ([str(network)], "error: there are no image files: give images"),
        ([str(network), str(tmp_path)], f"error: there are no image files in {tmp_path}: give images"),
    ):
        assert main(["predict", *arguments]) == 2
        shown = capsys.readouterr().err
        assert message in shown
        assert shown.count("\n") == 1
