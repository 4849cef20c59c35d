from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from gearnn.cli import main
from gearnn.errors import UserError
from gearnn.huggingface import write_huggingface


def test_the_folder_has_the_runs_figures_and_its_very_weights(tiny_run: Path, tmp_path: Path) -> None:
    facts = write_huggingface(tiny_run, tmp_path / "hub")
    assert facts == {"folder": str(tmp_path / "hub"), "files": ["config.json", "model.safetensors", "README.md"]}
    assert sorted(path.name for path in (tmp_path / "hub").iterdir()) == sorted(facts["files"])
    assert (tmp_path / "hub" / "model.safetensors").read_bytes() == (tiny_run / "model.safetensors").read_bytes()
    result = json.loads((tiny_run / "result.json").read_text())
    card = (tmp_path / "hub" / "README.md").read_text()
    _, matter, body = card.split("---\n", 2)
    assert f'- {{type: accuracy, name: "clean accuracy", value: {result["clean_accuracy"]}}}' in matter
    assert f"| {result['clean_accuracy']:.1%} | {result['robust_accuracy']:.1%} |" in body
    assert result["engine"]["version"] in body and 'gearnn.load("THIS_FOLDER")' in body
    config = json.loads((tmp_path / "hub" / "config.json").read_text())
    assert (config["model_type"], config["num_labels"], config["widths"]) == ("gearnn", 3, result["widths_final"])
    write_huggingface(tiny_run, tmp_path / "hub")  # anew


def test_the_front_matter_is_yaml_whatever_names_folders_have(tiny_run: Path, tmp_path: Path) -> None:
    yaml = pytest.importorskip("yaml")
    run = shutil.copytree(tiny_run, tmp_path / "a: b\n---")
    result = json.loads((run / "result.json").read_text())
    result["dataset"]["name"] = 'x"}, {y: [é'
    (run / "result.json").write_text(json.dumps(result))
    write_huggingface(run, tmp_path / "hub")
    found = yaml.safe_load((tmp_path / "hub" / "README.md").read_text().split("---\n", 2)[1])
    assert found["model-index"][0]["name"] == "a: b\n---"
    assert found["model-index"][0]["results"][0]["dataset"]["name"] == 'x"}, {y: [é'


def test_refusals_are_one_sentence(tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "README.md").write_text("mine")
    with pytest.raises(UserError, match="holds something else already"):
        write_huggingface(tiny_run, tmp_path / "other")
    with pytest.raises(UserError, match="holds something else already"):
        write_huggingface(tiny_run, tiny_run)
    run = shutil.copytree(tiny_run, tmp_path / "run")
    result = json.loads((run / "result.json").read_text())
    del result["engine"]["latency_ms_p50"]
    (run / "result.json").write_text(json.dumps(result))
    with pytest.raises(UserError, match="lacks figures that a model card holds .'latency_ms_p50'"):
        write_huggingface(run, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    for arguments, message in (
        ([str(tiny_run), "--opset", "17"], "--opset is for ONNX"),
        ([str(tiny_run / "model.safetensors")], "takes a run folder"),
        ([str(tmp_path / "other")], "result.json"),
    ):
        assert main(["export", *arguments, "--format", "huggingface"]) == 2
        printed = capsys.readouterr().err
        assert message in printed and printed.count("\n") == 1
