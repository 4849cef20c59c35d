from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import gearnn
from gearnn.cli import main
from gearnn.engine.errors import EngineError
from gearnn.errors import UserError


@pytest.fixture()
def exported(tiny_run: Path, tmp_path: Path) -> Path:
    assert main(["export", str(tiny_run), "--format", "huggingface", "--out", str(tmp_path / "hub")]) == 0
    return tmp_path / "hub"


def _pictures(count: int = 3) -> list:
    return list(np.random.default_rng(0).integers(0, 256, (count, 40, 30, 3), dtype=np.uint8))


def test_a_run_its_file_and_the_exported_folder_are_one_network(tiny_run: Path, exported: Path) -> None:
    network, classes, preprocessing = found = gearnn.load(tiny_run)
    assert classes == ("0", "1", "2") and (preprocessing.image_size, preprocessing.in_chans) == (16, 1)
    assert len(preprocessing.mean) == 1 and 0 < preprocessing.std[0] < 1
    images = torch.rand(4, 1, 16, 16)
    assert not network.training and network(images).shape == (4, 3)
    for other in (tiny_run / "model.safetensors", str(tiny_run / "networks" / "robust.safetensors"), exported):
        again = gearnn.load(other)
        assert (again.classes, again.preprocessing) == (classes, preprocessing)
        assert torch.equal(again.network(images), network(images))
    with gearnn.engine.load(tiny_run) as deployed:  # pictures are prepared as on the engine
        np.testing.assert_allclose(found.logits(_pictures()), deployed.logits(_pictures()), atol=1e-4)


def test_predicts_pictures_of_any_size(tiny_run: Path, tmp_path: Path) -> None:
    Image.fromarray(_pictures(1)[0]).save(tmp_path / "one.png")
    found = gearnn.load(tiny_run)
    best, worst = found.predict([tmp_path / "one.png"], topk=3)[0][::2]
    assert best.probability > worst.probability and {best.label, worst.label} < set(found.classes)
    assert found.predict(_pictures(1))[0] == [best]
    with pytest.raises(EngineError, match="none.png"):
        found.predict(["none.png"])


def test_config_json_counts_where_it_is_there(exported: Path, tmp_path: Path) -> None:
    content = json.loads((exported / "config.json").read_text())
    content["id2label"]["1"] = "tall"
    (exported / "config.json").write_text(json.dumps(content))
    assert gearnn.load(exported).classes == ("0", "tall", "2")
    content["widths"][0] += 8
    (exported / "config.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match="does not hold a network"):
        gearnn.load(exported)


def test_what_cannot_be_loaded_is_one_sentence(tiny_run: Path, exported: Path, tmp_path: Path) -> None:
    (tmp_path / "unfinished").mkdir()
    for path, message in (
        (Path("someone/network"), "there is no someone/network on this machine"),
        (tiny_run / "model.onnx", "use gearnn.engine.load"),
        (tmp_path / "unfinished", "has the run been finished"),
        (tiny_run / "config.json", "not a readable safetensors file"),
    ):
        with pytest.raises(UserError, match=message) as caught:
            gearnn.load(path)
        assert "\n" not in str(caught.value)
    for name, value in (
        ("id2label", {"1": "x"}),
        ("image_std", [0]),
        ("widths", "64"),
        ("architectures", []),
        ("image_size", 1e9),
    ):
        content = json.loads((exported / "config.json").read_text())
        shutil.copytree(exported, tmp_path / name)
        (tmp_path / name / "config.json").write_text(json.dumps({**content, name: value}))
        with pytest.raises(UserError, match="does not describe a network of gearnn"):
            gearnn.load(tmp_path / name)
