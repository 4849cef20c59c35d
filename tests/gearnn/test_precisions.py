from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from gearnn.data import Dataset
from gearnn.engine.errors import EngineError
from gearnn.engine.runtimes import load_runtime
from gearnn.precisions import convert


@pytest.fixture()
def onnx(tiny_run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(tiny_run / "model.onnx", tmp_path / "model.onnx"))


def test_both_precisions_agree_with_fp32_on_most_images(onnx: Path, tiny_dataset: Dataset) -> None:
    seen = []
    paths = [
        convert(onnx, precision, tiny_dataset.train, images=64, progress=lambda *entry: seen.append(entry))
        for precision in ("fp16", "int8")
    ]
    assert [path.name for path in paths] == ["model.fp16.onnx", "model.int8.onnx"]
    assert ("calibrating", 1, 2) in seen
    with load_runtime(onnx, threads=1) as reference:
        wanted = reference.run(reference.prepare(tiny_dataset.test.images))
        for path, allowed in zip(paths, (0.02, 0.3)):
            with load_runtime(path, threads=1) as runtime:
                found = runtime.run(runtime.prepare(tiny_dataset.test.images))
            assert np.linalg.norm(found - wanted) < allowed * np.linalg.norm(wanted)
            assert (found.argmax(1) == wanted.argmax(1)).mean() > 0.8


def test_the_same_seed_gives_the_same_calibration(onnx: Path, tiny_dataset: Dataset) -> None:
    def digest(seed: int) -> str:
        with load_runtime(convert(onnx, "int8", tiny_dataset.train, images=16, seed=seed), threads=1) as runtime:
            return runtime.metadata["calibration_sha256"]

    assert digest(0) == digest(0) != digest(1)


def test_the_worst_layers_stay_in_floating_point(onnx: Path, tiny_dataset: Dataset) -> None:
    path = convert(onnx, "int8", tiny_dataset.train, images=16, keep_worst=2, max_drop=-1.0)  # never good enough
    with load_runtime(path, threads=1) as runtime:
        kept = json.loads(runtime.metadata["quantization"])["keep"]
    assert len(kept) <= 2
    path = convert(onnx, "int8", tiny_dataset.train, images=16, keep_worst=2, max_drop=100.0)
    with load_runtime(path, threads=1) as runtime:
        assert json.loads(runtime.metadata["quantization"])["keep"] == []


def test_unknown_nodes_are_refused(onnx: Path, tiny_dataset: Dataset) -> None:
    with pytest.raises(EngineError, match="none"):
        convert(onnx, "int8", tiny_dataset.train, images=8, keep=("/none/Conv",))
    assert not (onnx.parent / "model.int8.onnx").exists()
