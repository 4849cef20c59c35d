"""Precisions of a run's network; and of grown networks all the way to an engine of TensorRT-RTX, refused where it cannot run."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import gearnn
from gearnn.data import Dataset, Split
from gearnn.engine.build import build
from gearnn.engine.errors import EngineError
from gearnn.engine.manifest import manifest_path, read_manifest, write_manifest
from gearnn.engine.runtimes import load_runtime
from gearnn.measure import deploy_module, random_images
from gearnn.models import create_model, deployable, scaled_widths
from gearnn.precisions import convert

SHAPE = (3, 32, 32)


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


@pytest.fixture(scope="module", params=["vgg19", "mobilenet_v1", "resnet18"])
def grown(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The ONNX file of a network that was grown by half."""
    torch.manual_seed(0)
    images, labels = torch.rand(16, *SHAPE), torch.arange(16) % 10
    model = create_model(request.param, 10, scaled_widths(request.param, 1 / 16))
    found = gearnn.grow(model, [(images, labels)], budget=gearnn.Budget(growth_ratio=0.5), example_input=images[:2])
    path = tmp_path_factory.mktemp(request.param) / "model.onnx"
    facts = deploy_module(
        deployable(found.model, (0.5,) * 3, (0.25,) * 3).eval(), SHAPE, path, random_images(SHAPE, 0, 16), 1, check=False
    )
    assert facts["comparison"]["max_abs"] < 1e-4
    return path


@pytest.fixture(params=["fp32", "fp16", "int8"])
def at_precision(grown: Path, request: pytest.FixtureRequest) -> Path:
    if request.param == "fp32":
        return grown
    return convert(grown, request.param, Split(random_images(SHAPE, 1, 32), np.arange(32) % 10), images=32)


def test_runs_in_onnx_runtime(grown: Path, at_precision: Path) -> None:
    images = random_images(SHAPE, 2, 16)
    with load_runtime(grown, threads=1) as reference, load_runtime(at_precision, threads=1) as runtime:
        wanted, found = reference.run(reference.prepare(images)), runtime.run(runtime.prepare(images))
    allowed = {"fp32": 1e-6, "fp16": 0.02, "int8": 0.3}[_precision(at_precision)]
    assert np.linalg.norm(found - wanted) < allowed * np.linalg.norm(wanted)


def test_tensorrt_rtx_builds_it_and_nothing_loads_it_here(at_precision: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX is not installed")
    engine = tmp_path / "model.engine"
    manifest = build(at_precision, engine, runtime="tensorrt_rtx", compute_capability="8.6", batch=(1, 4, 8))
    assert (manifest.precision, manifest.compute_capability, manifest.batch) == (_precision(at_precision), "8.6", (1, 4, 8))
    assert read_manifest(engine) == manifest

    def refuse(sentence: str) -> None:
        with pytest.raises(EngineError, match=sentence) as caught:
            load_runtime(engine)
        assert "\n" not in str(caught.value)

    if not torch.cuda.is_available():
        refuse("no CUDA device")
    content = bytearray(engine.read_bytes())
    content[len(content) // 2] ^= 1
    engine.write_bytes(content)
    refuse("not the file its manifest speaks of .*gearnn build")
    content[len(content) // 2] ^= 1
    engine.write_bytes(content)
    text = manifest_path(engine).read_text()
    manifest_path(engine).write_text(text.replace(f'"{manifest.runtime_version}"', '"1.0.0"'))
    refuse("the version differs.*gearnn build")
    write_manifest(engine, manifest)
    manifest_path(engine).unlink()
    refuse("no manifest|manifest")


def _precision(path: Path) -> str:
    return path.name.split(".")[1] if path.name.count(".") == 2 else "fp32"
