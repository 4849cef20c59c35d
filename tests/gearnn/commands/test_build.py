"""``gearnn build`` on TensorRT-RTX, which builds ahead of time without a GPU."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any, List

import numpy as np
import pytest
import torch

from gearnn.commands.build import BuildArguments, _calibration, main
from gearnn.engine.bundle import write_bundle
from gearnn.engine.errors import EngineError
from gearnn.engine.export import export_onnx
from gearnn.engine.float16 import to_fp16
from gearnn.engine.manifest import manifest_path, read_manifest, sha256_of, write_manifest
from gearnn.engine.quantize import to_int8
from gearnn.errors import UserError
from gearnn.models import create_model, scaled_widths

RTX = ["--runtime", "tensorrt_rtx", "--compute-capability", "8.6"]


@pytest.fixture(autouse=True)
def _tensorrt_rtx() -> None:
    pytest.importorskip("tensorrt_rtx", reason="the flavour of TensorRT that works without a GPU is not installed")


def _export(name: str, path: Path) -> Path:
    """A network of ours at 1/16 width, with batch-norm statistics that are not the initial ones."""
    torch.manual_seed(0)
    net = create_model(name, 10, scaled_widths(name, 1 / 16))
    net.train()
    with torch.no_grad():
        for _ in range(2):
            net(torch.randn(8, 3, 32, 32))
    return export_onnx(net.eval(), (3, 32, 32), path, metadata={"image_size": "32", "classes": json.dumps(list("abcdefghij"))})


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _export("mobilenet_v1", tmp_path_factory.mktemp("net") / "model.onnx")


@pytest.mark.parametrize("name", ["vgg19", "mobilenet_v1", "resnet18"])
def test_each_of_our_networks_builds_for_sm86(name: str, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    onnx = _export(name, tmp_path / "model.onnx")
    assert main([str(onnx), *RTX, "--batch", "1:8:32"]) == 0
    manifest = read_manifest(tmp_path / "model.engine")
    assert (manifest.runtime, manifest.compute_capability, manifest.precision, manifest.batch) == (
        "tensorrt_rtx",
        "8.6",
        "fp32",
        (1, 8, 32),
    )
    assert manifest.onnx_sha256 == sha256_of(onnx) and manifest.sha256 == sha256_of(tmp_path / "model.engine")
    assert manifest.rebuild == f"gearnn build {onnx} {' '.join(RTX)} --batch 1:8:32"
    out, err = capsys.readouterr()
    assert "fp32 for compute capability 8.6 by tensorrt_rtx" in out
    assert "workspace" in err and "build: 1/1, done" in err


@pytest.mark.parametrize("precision", ["fp16", "int8"])
@pytest.mark.parametrize("name", ["vgg19", "mobilenet_v1", "resnet18"])
def test_each_of_our_networks_builds_at_lower_precisions(name: str, precision: str, tmp_path: Path) -> None:
    images = np.random.default_rng(0).random((8, 3, 32, 32), dtype=np.float32)
    plain, lower = _export(name, tmp_path / "model.onnx"), tmp_path / f"model.{precision}.onnx"
    to_fp16(plain, lower) if precision == "fp16" else to_int8(plain, lower, [images])
    assert main([str(tmp_path), *RTX, "--precision", precision]) == 0
    manifest = read_manifest(tmp_path / f"model.{precision}.engine")
    assert (manifest.precision, manifest.input_dtype, manifest.output_shape) == (precision, "float32", (None, 10))


def test_trtexecs_flags_and_json(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    out = tmp_path / "m.engine"
    shapes = [f"--{name}Shapes=images:{batch}x3x32x32" for name, batch in (("min", 1), ("opt", 2), ("max", 4))]
    assert main([f"--onnx={model}", f"--saveEngine={out}", *shapes, "--memPoolSize=workspace:128", *RTX, "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert set(printed) >= {"metadata", "results"} and "versions" in printed["metadata"]
    result = printed["results"][0]
    assert (result["batch"], result["details"]["workspace_mb"], result["file"]) == ([1, 2, 4], 128, "m.engine")


def test_a_run_folder(model: Path, tmp_path: Path) -> None:
    shutil.copyfile(model, tmp_path / "model.onnx")
    assert main([str(tmp_path), *RTX]) == 0
    assert manifest_path(tmp_path / "model.engine").is_file()


def test_how_long_it_took_the_last_time_is_said(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    out = tmp_path / "m.engine"
    main([str(model), "--out", str(out), *RTX])
    manifest = read_manifest(out)
    write_manifest(out, replace(manifest, details={**manifest.details, "build_seconds": 83.4}))
    assert "the last time" not in capsys.readouterr().err
    main([str(model), "--out", str(out), *RTX])
    assert f"building {out} took 83 s the last time" in capsys.readouterr().err
    manifest_path(out).write_text("{}")
    main([str(model), "--out", str(out), *RTX])
    assert read_manifest(out).sha256 == sha256_of(out)


def test_a_precision_that_did_not_pass_the_gate_is_said(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    facts = {"fp32": {"ready": True}, "int8": {"ready": False, "reason": "2.5 points below FP32"}}
    options = {"name": "n", "classes": tuple("abcdefghij"), "channels": 3, "size": 32, "default": "fp32", "card": ""}
    bundle = write_bundle(tmp_path / "b", {"fp32": model, "int8": model}, facts=facts, **options)
    with pytest.raises(EngineError):
        main([str(bundle), *RTX, "--precision", "int8"])
    assert "int8 is not marked ready in" in (err := capsys.readouterr().err) and "2.5 points below FP32" in err


@pytest.mark.parametrize("name", ["net.bundle", "net.zip"])
def test_a_bundle_gives_its_default(name: str, model: Path, tmp_path: Path) -> None:
    bundle = tmp_path / name
    facts = {"fp32": {"ready": True}}
    write_bundle(
        bundle, {"fp32": model}, name="n", classes=tuple("abcdefghij"), channels=3, size=32, default="fp32", facts=facts, card=""
    )
    assert main([str(bundle), *RTX]) == 0
    engine = bundle / "model.engine" if bundle.is_dir() else tmp_path / "net.model.engine"
    assert read_manifest(engine).rebuild == f"gearnn build {bundle} {' '.join(RTX)}"
    with pytest.raises(EngineError, match="takes the precision from the file: build from the FP16 file"):
        main([str(bundle), *RTX, "--precision", "fp16"])


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--batch", "a:b"], "--batch 'a:b' is not min:opt:max"),
        (["--batch", "8:4:2"], "8:4:2 is not min:opt:max"),
        (["--precision", "int8"], "build from the INT8 file"),
        (["--compute-capability", "7.2"], "cannot build for compute capability '7.2'"),
        (["--dla-core", "0"], "no DLA"),
        (["--useSpinWait"], "gearnn profile"),
        (["--runtime", "tensorflow"], "no TensorRT called 'tensorflow'"),
    ],
)
def test_mistakes_are_one_sentence_and_leave_nothing(arguments: List[str], sentence: str, model: Path, tmp_path: Path) -> None:
    options = arguments if "--runtime" in arguments else ["--runtime", "tensorrt_rtx", *arguments]
    with pytest.raises((EngineError, UserError), match=sentence) as caught:
        main([str(model), "--out", str(tmp_path / "m.engine"), *options])
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_calibration_images_come_as_the_network_takes_them(model: Path, tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (24, 3, 32, 32), dtype=np.uint8)
    np.savez(tmp_path / "data.npz", x=images.transpose(0, 2, 3, 1), y=np.arange(24) % 2)
    options = BuildArguments(model, data=tmp_path / "data.npz", calibration_images=5)
    given: Any = list(_calibration(options, model))
    assert len(given) == 5
    assert all(image.shape == (1, 3, 32, 32) and image.dtype == np.float32 for image in given)
    pool = {image.tobytes() for image in images}
    assert all(np.round(image[0] * 255).astype(np.uint8).tobytes() in pool for image in given)
