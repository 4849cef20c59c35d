"""The main job, through the command line, on data that takes seconds."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Dict, List

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from gearnn import measure
from gearnn.cli import main
from gearnn.data import Dataset
from gearnn.engine.compare import Comparison


@pytest.fixture()
def npz(tiny_dataset: Dataset, tmp_path: Path) -> Path:
    path = tmp_path / "gratings.npz"
    train, test = tiny_dataset.train, tiny_dataset.test
    np.savez(path, x=train.images, y=train.labels, x_test=test.images, y_test=test.labels)
    return path


def _arguments(npz: Path, out: Path, *more: str) -> List[str]:
    epochs = ["--epochs.seed", "6", "--epochs.regrow", "2", "--epochs.era", "6", "--optimizer.batch-size", "32"]
    settings = ["--augmentation.no-flip", "--augmentation.pad", "1", "--budget.growth-ratio", "0.5", "--threads", "1"]
    return ["run", "--data", str(npz), "--out", str(out), "--seed-width", "0.0625", *epochs, *settings, *more]


def test_images_in_network_engine_and_report_out(npz: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    out = tmp_path / "run"
    assert main(_arguments(npz, out, "--baseline", "--json")) == 0
    printed: Dict[str, Any] = json.loads(capsys.readouterr().out)
    result = json.loads((out / "result.json").read_text())
    assert printed == result
    for name in ("config.json", "metrics.jsonl", "model.safetensors", "model.onnx", "report.html", "examples.npz"):
        assert (out / name).stat().st_size > 100
    assert 0.5 < result["clean_accuracy"] <= 1
    assert 0.34 < result["robust_accuracy"] <= 1
    assert result["engine"]["runtime"] == "onnxruntime"
    assert result["engine"]["clean_accuracy"] == result["clean_accuracy"]
    assert result["engine"]["latency_ms_p50"] > 0
    assert result["networks"][2]["latency_ms_p50"] == result["engine"]["latency_ms_p50"]
    assert all(network["latency_ms_p50"] > 0 for network in result["networks"])
    assert result["engine"]["comparison"]["max_abs"] < 1e-4
    assert result["params_final"] > result["params_seed"]
    assert [network["name"] for network in result["networks"]] == ["seed", "grown", "robust", "baseline"]
    assert result["networks"][3]["widths"] == result["widths_final"]
    assert all(network["robustness"]["kind"] == "generated" for network in result["networks"])
    assert [phase["name"] for phase in result["phases"]] == ["seed", "growth", "regrow", "era", "baseline"]
    assert len(result["width_layers"]) == len(result["widths_final"])
    scores = result["per_class"]
    assert [score["class"] for score in scores] == result["classes"]
    assert sum(score["images"] for score in scores) == result["dataset"]["n_test"]
    assert sum(score["right"] for score in scores) / result["dataset"]["n_test"] == result["clean_accuracy"]
    assert not any("per_class" in network for network in result["networks"])
    examples = np.load(out / "examples.npz", allow_pickle=False)
    assert examples["named_corrupted"].shape == examples["corrupted"].shape[:2]
    assert examples["corrupted"].shape[1] == 15
    assert (examples["augmented"] != examples["clean"][:, None]).any()

    # The same folder again: refused, then resumed without training anew, then refused with other options.
    capsys.readouterr()
    assert main(_arguments(npz, out, "--baseline")) == 2
    assert "--resume" in capsys.readouterr().err
    weights = (out / "model.safetensors").read_bytes()
    assert main(_arguments(npz, out, "--baseline", "--resume")) == 0
    assert (out / "model.safetensors").read_bytes() == weights
    assert "clean" in capsys.readouterr().out
    assert main(_arguments(npz, out, "--baseline", "--resume", "--seed", "5")) == 2
    assert "seed" in capsys.readouterr().err

    # The commands that read a run.
    assert main(["evaluate", str(out), "--corruptions", "fog", "contrast", "--severities", "1", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["clean"] == result["clean_accuracy"]
    assert report["per_corruption"]["fog"][0] == result["networks"][2]["robustness"]["per_corruption"]["fog"][0]
    assert (
        main(
            [
                "evaluate",
                str(out / "model.safetensors"),
                "--data",
                str(npz),
                "--corruptions",
                "fog",
                "--severities",
                "1",
                "--json",
            ]
        )
        == 0
    )
    assert json.loads(capsys.readouterr().out)["clean"] == pytest.approx(result["clean_accuracy"])
    assert main(["export", str(out), "--out", str(tmp_path / "again.onnx"), "--opset", "17", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["comparison"]["max_abs"] < 1e-4
    assert main(["profile", str(tmp_path / "again.onnx"), "--iterations", "10", "--json"]) == 0
    assert [row["batch"] for row in json.loads(capsys.readouterr().out)["results"]] == [1, 32]
    assert main(["evaluate", str(out / "model.onnx"), "--corruptions", "fog", "--severities", "1"]) == 2
    assert "has others" in capsys.readouterr().err  # without --data, these would be the digits
    (out / "report.html").unlink()
    assert main(["report", str(out)]) == 0
    assert (out / "report.html").exists()


@pytest.mark.parametrize(("arch", "shots", "grower"), [("mobilenet_v1", 1, "osg"), ("resnet18", 2, "variance_transfer")])
def test_gearnn_1_on_the_other_networks(arch: str, shots: int, grower: str, npz: Path, tmp_path: Path) -> None:
    out, more = tmp_path / arch, ("--shots", str(shots), "--grower", grower, "--epochs.seed", "2")
    assert main(_arguments(npz, out, "--arch", arch, "--method", "gearnn-1", *more)) == 0
    result = json.loads((out / "result.json").read_text())
    last = "regrow" if shots == 1 else "regrow-2"
    assert [(network["name"], network["phase"]) for network in result["networks"]] == [("seed", "seed"), ("robust", last)]
    Comparison(**result["engine"]["comparison"]).check()  # in proportion: after two epochs, logits can be in the thousands
    assert result["params_final"] > result["params_seed"]
    assert result["growth"]["budget"][0]["before"] < result["growth"]["budget"][0]["after"]
    assert (out / "report.html").exists()


def test_a_run_says_what_it_will_do_what_it_skipped_and_what_came_of_it(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    generator = np.random.default_rng(0)
    for kind, level in (("dark", 40), ("light", 200)):
        (tmp_path / "photos" / kind).mkdir(parents=True)
        for number in range(24):
            pixels = np.uint8(level + generator.integers(0, 40, (16, 16, 3)))
            Image.fromarray(pixels).save(tmp_path / "photos" / kind / f"{number:02}.png")
    (tmp_path / "photos" / "dark" / "broken.png").write_bytes(b"")
    epochs = ["--epochs.seed", "1", "--epochs.regrow", "1", "--epochs.era", "2"]
    arguments = ["run", "--data", str(tmp_path / "photos"), "--out", str(tmp_path / "run"), "--seed-width", "0.0625", *epochs]
    assert main([*arguments, "--budget.growth-ratio", "0.5", "--threads", "1"]) == 0
    shown = capsys.readouterr()
    lines = shown.err.splitlines()
    assert lines[0].startswith("vgg19: seed (1 epoch), growth, regrow (1 epoch), era (2 epochs on augmented images); then export")
    skipped = "1 of 49 files was skipped: photos/dark/broken.png (empty file)"
    read = next(place for place, line in enumerate(lines) if line.startswith("reading images: 49/49"))
    assert lines[read + 1] == "data: 39 training and 9 test images of 2 classes, 16×16 pixels"
    assert lines[read + 2] == f"note: {skipped}"
    assert sum(line.startswith("preparing the first step; ") for line in lines) == 1
    for name, end in (("seed", "1 epoch"), ("regrow", "1 epoch"), ("era", "2 epochs")):
        assert [line for line in lines if line.startswith(f"{name}: right on ") and line.endswith(f" after {end}")], name
    assert any(line.startswith("growth: the network now has ") for line in lines)
    assert f"Note: {skipped}" in shown.out
    verdict = shown.out.splitlines()[-1]
    ready = f"Ready. Next: gearnn bundle {tmp_path / 'run'} --out run.zip"
    assert verdict == ready or verdict.startswith("Not ready. It is right more often than guessing: ")
    assert "Peak memory" not in shown.out
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["warnings"][0] == skipped
    assert result["footnotes"] == ["Peak memory on a CPU is that of the whole process, data included."]
    page = (tmp_path / "run" / "report.html").read_text()
    assert page.count(skipped) == 1
    assert "Peak memory on a CPU" in page


def test_an_engine_that_disagrees_does_not_lose_the_run(
    npz: Path, tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    export = measure.export_onnx

    def altered(model: nn.Module, *rest: Any, **options: Any) -> Path:
        other = copy.deepcopy(model)
        with torch.no_grad():
            list(other.parameters())[-1].add_(0.01)
        return export(other, *rest, **options)

    monkeypatch.setattr(measure, "export_onnx", altered)
    out, epochs = tmp_path / "run", ["--epochs.seed", "1", "--epochs.regrow", "1", "--epochs.era", "1"]
    assert main(_arguments(npz, out, *epochs)) == 0
    told = capsys.readouterr().out
    assert "grown network, after ERA: not ready, the two executions disagree: logits differ by up to 0.01 (allowed 0.0001" in told
    result = json.loads((out / "result.json").read_text())
    assert [": not ready, " in warning for warning in result["warnings"]][:3] == [True] * 3
    page = (out / "report.html").read_text()
    assert "Not ready: a check failed." in page and "logits differ by 1.0 × 10⁻² at most" in page
    for pixels in ((), ("--uint8",)):
        bundle = ["bundle", str(out), "--out", str(tmp_path / f"bundle{len(pixels)}"), "--precisions", "fp32", *pixels]
        with pytest.warns(RuntimeWarning, match="is not ready: the two executions disagree"):
            assert main([*bundle, "--severities", "1"]) == 0
        assert "NO: the two executions disagree" in capsys.readouterr().out
    assert main(["export", str(out), "--format", "huggingface", "--out", str(tmp_path / "hub")]) == 0
    assert "fp32 is not ready: the two executions disagree" in (tmp_path / "hub" / "README.md").read_text()


def test_an_engine_that_gives_no_numbers_ends_the_run_in_a_sentence(
    npz: Path, tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measure, "agreement", lambda *rest: Comparison(float("nan"), float("nan"), 0.1, 30, 0))
    epochs = ["--epochs.seed", "1", "--epochs.regrow", "1", "--epochs.era", "1"]
    assert main(_arguments(npz, tmp_path / "run", *epochs)) == 2
    assert "error: seed network cannot be judged: the two executions disagree" in capsys.readouterr().err


def test_a_time_too_short_is_refused_and_leaves_no_run(npz: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    out = tmp_path / "hasty"
    assert main(_arguments(npz, out, "--budget.train-time", "1s")) == 2
    assert "give at least" in capsys.readouterr().err
    assert not (out / "config.json").exists()


@pytest.mark.parametrize(("preset", "names"), [("clean-then-augmix", ["clean", "robust"]), ("small-clean", ["clean"])])
def test_without_growth_the_network_has_its_final_size_from_the_start(
    npz: Path, tmp_path: Path, preset: str, names: List[str]
) -> None:
    out = tmp_path / "run"
    epochs = ["--epochs.seed", "3", *(["--epochs.era", "2"] if len(names) == 2 else [])]
    options = ["--budget.params", "150k", "--optimizer.batch-size", "32", "--seed-width", "0.0625", "--threads", "1"]
    assert main(["run", "--preset", preset, "--data", str(npz), "--out", str(out), *epochs, *options]) == 0
    result = json.loads((out / "result.json").read_text())
    assert [network["name"] for network in result["networks"]] == names
    assert result["growth"] == {}
    assert 100_000 < result["params_seed"] == result["params_final"] <= 150_000
    assert result["networks"][-1]["macs"] > 100_000
    assert (out / "model.onnx").read_bytes() == (out / "networks" / f"{names[-1]}.onnx").read_bytes()
    assert "not grown" in (out / "report.html").read_text()


@pytest.mark.gpu
def test_the_main_job_on_a_gpu_and_its_resumption(npz: Path, tmp_path: Path) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert main(_arguments(npz, whole, "--device", "cuda")) == 0
    command = [sys.executable, "-m", "gearnn", *_arguments(npz, cut, "--device", "cuda")]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        end = time.monotonic() + 60
        while not (cut / "checkpoint" / "last.safetensors").exists():
            assert time.monotonic() < end and process.poll() is None
            time.sleep(0.02)
    finally:
        process.kill()
        process.wait()
    assert main(_arguments(npz, cut, "--device", "cuda", "--resume")) == 0
    one, two = (json.loads((folder / "result.json").read_text()) for folder in (whole, cut))
    assert one["engine"]["comparison"]["max_abs"] < 1e-3 and 0.5 < one["clean_accuracy"] <= 1
    assert two["growth"]["layers"] == one["growth"]["layers"]
    assert abs(one["clean_accuracy"] - two["clean_accuracy"]) < 0.2  # sums on a GPU are added up in any order
    assert all(phase["peak_memory_mb"] > 0 for phase in one["phases"])


def test_few_images_are_trained_in_smaller_batches_and_it_is_said(
    npz: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    out, options = tmp_path / "run", ["--limit-train", "60", "--epochs.seed", "1", "--epochs.era", "1", "--epochs.regrow", "1"]
    arguments = [word for word in _arguments(npz, out, *options) if word not in ("--optimizer.batch-size", "32")]
    assert main(arguments) == 0
    shown = capsys.readouterr()
    remark = "Batches of 16 images instead of 128, since there are only 60 to train on (3 steps an epoch)"
    assert f"note: {remark}" in shown.err
    assert json.loads((out / "config.json").read_text())["optimizer"]["batch_size"] == 16
    result = json.loads((out / "result.json").read_text())
    assert any(warning.startswith(remark) for warning in result["warnings"])
    assert [phase["images"] for phase in result["phases"] if phase["name"] == "era"] == [48]
    assert main([*arguments, "--resume"]) == 0
    assert [warning for warning in json.loads((out / "result.json").read_text())["warnings"] if "Batches" in warning] == [
        warning for warning in result["warnings"] if "Batches" in warning
    ]

    capsys.readouterr()
    few = [word if word != "60" else "12" for word in arguments]
    assert main([*few, "--out", str(tmp_path / "few")]) == 2
    assert "--optimizer.batch-size" in capsys.readouterr().err
