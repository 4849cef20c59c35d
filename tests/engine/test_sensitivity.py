"""Finding the layers that suffer from INT8, and leaving as few as needed in floating point."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Callable, List

import numpy as np
import pytest
import torch
from torch import nn

from gearnn.engine.errors import EngineError
from gearnn.engine.export import export_onnx
from gearnn.engine.quantize import quantizable_layers, to_int8
from gearnn.engine.runtimes import load_runtime
from gearnn.engine.sensitivity import EXACT_DB, keep_for, sensitivity


@pytest.fixture()
def fragile(tmp_path: Path) -> Path:
    """The layer "/2/Conv" reads one channel a thousand times larger than the others, and hardly uses it."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(1152, 5))
    with torch.no_grad():
        net[0].weight[3] = net[0].weight[3].abs() * 1000
        net[2].weight[:, 3] *= 1e-6
    return export_onnx(net, (3, 16, 16), tmp_path / "fragile.onnx")


def logits(path: Path, images: np.ndarray) -> np.ndarray:
    with load_runtime(path, threads=1) as runtime:
        return runtime.run(images).astype(np.float64)


def agreement(source: Path, images: np.ndarray) -> Callable[[Path], float]:
    """An accuracy that falls smoothly with the noise: decibels of signal over it."""
    wanted = logits(source, images)
    return lambda path: float(10 * np.log10((wanted**2).sum() / ((logits(path, images) - wanted) ** 2).sum()))


@pytest.mark.parametrize("runtime", ["tensorrt", "onnxruntime"])
def test_the_fragile_layer_comes_first(fragile: Path, images: np.ndarray, runtime: str) -> None:
    rows = sensitivity(fragile, iter([images[:40], images[40:]]), runtime=runtime)
    assert {row.name for row in rows} == set(quantizable_layers(fragile))
    assert rows[0].name == "/2/Conv" and rows[0].operator == "Conv" and rows[0].weights == 8 * 8 * 9
    ratios = [row.sqnr_db for row in rows]
    assert ratios == sorted(ratios) and ratios[0] < ratios[1] - 10 and ratios[-1] < EXACT_DB
    assert rows[0].top1_agreement < rows[1].top1_agreement <= 1


def test_a_row_is_what_a_file_with_that_layer_alone_gives(onnx_file: Path, tmp_path: Path, images: np.ndarray) -> None:
    names = quantizable_layers(onnx_file)
    rows = {row.name: row for row in sensitivity(onnx_file, [images], images=30)}
    for name in names:
        alone = to_int8(onnx_file, tmp_path / "alone.onnx", [images], keep=[other for other in names if other != name])
        assert rows[name].sqnr_db == pytest.approx(agreement(onnx_file, images[:30])(alone), abs=0.2)
        same = logits(alone, images[:30]).argmax(1) == logits(onnx_file, images[:30]).argmax(1)
        assert rows[name].top1_agreement == pytest.approx(same.mean(), abs=0.04)


def test_networks_of_a_fixed_batch_and_kept_layers(small_net: nn.Module, tmp_path: Path, images: np.ndarray) -> None:
    fixed = export_onnx(small_net, (3, 16, 16), tmp_path / "fixed.onnx", batch=8)
    free = export_onnx(small_net, (3, 16, 16), tmp_path / "free.onnx")
    keep = quantizable_layers(free)[:1]
    wanted, got = sensitivity(free, [images], keep=keep), sensitivity(fixed, [images], keep=keep)
    assert len(got) == 3 and {row.name for row in got} == {row.name for row in wanted}
    for row in got:
        assert row.sqnr_db == pytest.approx(next(other for other in wanted if other.name == row.name).sqnr_db, abs=0.2)


def test_as_few_layers_as_needed_stay_in_floating_point(fragile: Path, tmp_path: Path, images: np.ndarray) -> None:
    accuracy = agreement(fragile, images)
    seen: List[Path] = []

    def judge(path: Path) -> float:
        seen.append(path)
        return accuracy(path)

    found = keep_for(fragile, tmp_path / "out" / "int8.onnx", lambda: [images], judge, 30)
    assert found.reached and found.keep == ("/2/Conv",) and found.accuracy >= 30
    assert [count for count, _ in found.tried] == [0, 1] and found.tried[0][1] < 30
    assert accuracy(found.path) == pytest.approx(found.accuracy, abs=0.1)
    assert [entry.name for entry in (tmp_path / "out").iterdir()] == ["int8.onnx"] and not any(path.exists() for path in seen)
    with load_runtime(found.path) as runtime:
        assert json.loads(runtime.metadata["quantization"])["keep"] == ["/2/Conv"]


def test_a_network_that_is_good_enough_keeps_nothing(onnx_file: Path, tmp_path: Path, images: np.ndarray) -> None:
    found = keep_for(onnx_file, tmp_path / "int8.onnx", [images], agreement(onnx_file, images), 15)
    assert found.reached and found.keep == () and len(found.tried) == 1
    assert found.path.read_bytes() == to_int8(onnx_file, tmp_path / "plain.onnx", [images]).read_bytes()


def test_the_best_is_written_where_the_target_is_out_of_reach(fragile: Path, tmp_path: Path, images: np.ndarray) -> None:
    accuracy = agreement(fragile, images)
    for most, tried in ((0, [0]), (1, [0, 1]), (9, [0, 1, 2])):
        found = keep_for(fragile, tmp_path / "int8.onnx", [images], accuracy, 1e9, most=most)
        assert not found.reached and [count for count, _ in found.tried] == tried
        assert found.accuracy == max(score for _, score in found.tried)
    with pytest.raises(EngineError, match="0 or more"):
        keep_for(fragile, tmp_path / "int8.onnx", [images], accuracy, 1, most=-1)


def test_layers_asked_for_stay_and_progress_is_told(fragile: Path, tmp_path: Path, images: np.ndarray) -> None:
    calls: List[Any] = []
    found = keep_for(
        fragile, tmp_path / "int8.onnx", [images], agreement(fragile, images), 30,
        keep=["/0/Conv"], progress=lambda *call: calls.append(call),
    )  # fmt: skip
    assert found.keep == ("/0/Conv", "/2/Conv") and found.reached
    assert {label for label, _, _ in calls} == {"calibrating", "quantising layer by layer", "keeping layers in floating point"}
    assert ("quantising layer by layer", 2, 2) in calls


def test_wrong_requests_are_refused(onnx_file: Path, images: np.ndarray) -> None:
    with pytest.raises(EngineError, match="at least 1 image"):
        sensitivity(onnx_file, [images], images=0)
    with pytest.raises(EngineError, match="no calibration images"):
        sensitivity(onnx_file, [])
    with pytest.raises(EngineError, match="no quantisable layer 'x'"):
        sensitivity(onnx_file, [images], keep=["x"])
