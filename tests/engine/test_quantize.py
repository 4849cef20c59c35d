"""INT8 files: close to FP32, small, and what TensorRT takes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from gearnn.engine.errors import EngineError
from gearnn.engine.export import export_onnx
from gearnn.engine.quantize import float_weights, quantizable_layers, to_int8
from gearnn.engine.runtimes import load_runtime


def logits(path: Path, images: np.ndarray) -> np.ndarray:
    with load_runtime(path, threads=1) as runtime:
        return runtime.run(images)


def decibels(wanted: np.ndarray, got: np.ndarray) -> float:
    return float(10 * np.log10((wanted**2).sum() / ((wanted - got) ** 2).sum()))


@pytest.mark.parametrize("runtime", ["tensorrt", "onnxruntime"])
@pytest.mark.parametrize("method", ["minmax", "percentile", "entropy"])
def test_int8_is_close_to_fp32(onnx_file: Path, tmp_path: Path, images: np.ndarray, runtime: str, method: str) -> None:
    out = to_int8(onnx_file, tmp_path / "int8.onnx", [images], method=method, runtime=runtime)
    wanted, got = logits(onnx_file, images), logits(out, images)
    assert 20 < decibels(wanted, got) < 60  # closer would mean that nothing was quantised
    assert (wanted.argmax(1) == got.argmax(1)).mean() > 0.9


def test_the_file_keeps_what_the_fp32_file_says(onnx_file: Path, tmp_path: Path, images: np.ndarray) -> None:
    keep = quantizable_layers(onnx_file)[1]
    out = to_int8(onnx_file, tmp_path / "int8.onnx", iter([images]), keep=[keep], method="percentile")
    with load_runtime(onnx_file) as before, load_runtime(out) as after:
        assert (after.input_name, after.input_shape, after.output_name) == (
            before.input_name,
            before.input_shape,
            before.output_name,
        )
        assert after.run(images[:1]).shape == (1, 5) and after.run(images[:9]).shape == (9, 5)
        facts = after.metadata
        assert facts["classes"] == before.metadata["classes"] and facts["precision"] == "int8"
        assert facts["source_sha256"] == before.metadata["source_sha256"]
    assert json.loads(facts["quantization"]) == {"runtime": "tensorrt", "quantized": 3, "keep": [keep]}
    assert json.loads(facts["calibration"]) == {"method": "percentile", "images": 70}
    assert len(facts["calibration_sha256"]) == 64
    model = onnx.load(str(out))
    assert model.opset_import[0].version == 13
    onnx.checker.check_model(model, full_check=True)


def test_the_same_images_give_the_same_file(onnx_file: Path, tmp_path: Path, images: np.ndarray) -> None:
    first = to_int8(onnx_file, tmp_path / "1.onnx", [images])
    second = to_int8(onnx_file, tmp_path / "2.onnx", lambda: (images[start : start + 9] for start in range(0, 70, 9)))
    assert first.read_bytes() == second.read_bytes()


def test_pixels_are_prepared_in_the_graph_as_before(small_net: nn.Module, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 16, 16, 3), np.uint8)
    source = export_onnx(small_net, (3, 16, 16), tmp_path / "px.onnx", pixels=True)
    out = to_int8(source, tmp_path / "int8.onnx", [pixels])
    kinds = [node.op_type for node in onnx.load(str(out)).graph.node if not node.name.startswith("WDQ")]
    first = [node.op_type for node in onnx.load(str(source)).graph.node if node.op_type != "Constant"]
    ahead = first[: first.index("Conv")]
    assert ahead[:2] == ["Cast", "Transpose"] and kinds[: len(ahead) + 1] == [*ahead, "QuantizeLinear"]
    assert 20 < decibels(logits(source, pixels), logits(out, pixels)) < 60


def test_networks_of_a_fixed_batch_stay_so(small_net: nn.Module, tmp_path: Path, images: np.ndarray) -> None:
    source = export_onnx(small_net, (3, 16, 16), tmp_path / "one.onnx", batch=1)
    out = to_int8(source, tmp_path / "int8.onnx", [images])
    with load_runtime(out) as runtime:
        assert runtime.input_shape == (1, 3, 16, 16)


def narrow_net() -> nn.Sequential:
    """Depthwise and pointwise convolutions, 0.2 M parameters: names, scales and biases weigh most in such networks."""
    layers = [nn.Conv2d(3, 128, 3, padding=1), nn.ReLU()]
    for _ in range(11):
        layers += [nn.Conv2d(128, 128, 3, padding=1, groups=128), nn.ReLU(), nn.Conv2d(128, 128, 1), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(128, 10))


@pytest.mark.parametrize("runtime", ["tensorrt", "onnxruntime"])
def test_small_networks_become_three_tenths(tmp_path: Path, images: np.ndarray, runtime: str) -> None:
    torch.manual_seed(0)
    source = export_onnx(narrow_net(), (3, 16, 16), tmp_path / "narrow.onnx")
    out = to_int8(source, tmp_path / "int8.onnx", [images], runtime=runtime)
    assert out.stat().st_size <= 0.3 * source.stat().st_size


def test_channels_of_zeros_do_no_harm(small_net: Any, tmp_path: Path, images: np.ndarray) -> None:
    with torch.no_grad():
        small_net.stem[0].weight[2] = 0
        small_net.classifier.weight[1] = 0
    source = export_onnx(small_net, (3, 16, 16), tmp_path / "a.onnx")
    got = logits(to_int8(source, tmp_path / "int8.onnx", [images]), images)
    assert np.isfinite(got).all() and decibels(logits(source, images), got) > 20


def test_weights_widened_for_older_tensorrt_compute_the_same(onnx_file: Path, tmp_path: Path, images: np.ndarray) -> None:
    narrow = to_int8(onnx_file, tmp_path / "int8.onnx", [images])
    wide = float_weights(narrow, tmp_path / "wide.onnx")
    np.testing.assert_array_equal(logits(wide, images), logits(narrow, images))
    model = onnx.load(str(wide))
    held = {entry.name: entry for entry in model.graph.initializer}
    assert not any(entry.data_type == onnx.TensorProto.INT8 and len(entry.dims) > 1 for entry in held.values())
    assert {entry.key: entry.value for entry in model.metadata_props}["precision"] == "int8"
    with pytest.raises(EngineError, match="is not quantised"):
        float_weights(onnx_file, tmp_path / "other.onnx")


def test_what_cannot_be_quantised_is_refused_and_nothing_written(onnx_file: Path, tmp_path: Path, images: np.ndarray) -> None:
    out = tmp_path / "out" / "int8.onnx"
    out.parent.mkdir()
    out.write_bytes(b"before")
    every = quantizable_layers(onnx_file)
    garbage = tmp_path / "garbage.onnx"
    garbage.write_bytes(b"garbage")
    pooled = export_onnx(nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()), (3, 16, 16), tmp_path / "pool.onnx")
    for source, batches, options, message in (
        (tmp_path / "none.onnx", [images], {}, "there is no ONNX file"),
        (garbage, [images], {}, "is not a valid ONNX file"),
        (onnx_file, [], {}, "no calibration images"),
        (onnx_file, [images[:, :2]], {}, "calibration images must be"),
        (onnx_file, [images], {"keep": [every[0] + "x"]}, f"did you mean '{every[0]}'"),
        (onnx_file, [images], {"keep": every}, "no layer to quantise .all are to stay"),
        (onnx_file, [images], {"method": "best"}, "no calibration method"),
        (onnx_file, [images], {"runtime": "dla"}, "no placement"),
        (pooled, [images], {}, "it has no Conv, Gemm or MatMul"),
    ):
        with pytest.raises(EngineError, match=message):
            to_int8(source, out, batches, **options)
    assert out.read_bytes() == b"before" and len(list(out.parent.iterdir())) == 1
    done = to_int8(onnx_file, out, [images])
    with pytest.raises(EngineError, match="is quantised already"):
        to_int8(done, tmp_path / "twice.onnx", [images])


def build(path: Path) -> Any:
    """An engine for SM86, built ahead of time, or the parser's errors."""
    trt = pytest.importorskip("tensorrt_rtx")
    builder = trt.Builder(trt.Logger(trt.Logger.ERROR))
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, trt.Logger(trt.Logger.ERROR))
    assert parser.parse(path.read_bytes()), [str(parser.get_error(index)) for index in range(parser.num_errors)]
    config, profile, entry = builder.create_builder_config(), builder.create_optimization_profile(), network.get_input(0)
    config.num_compute_capabilities = 1
    config.set_compute_capability(trt.ComputeCapability.SM86, 0)
    rest = tuple(entry.shape)[1:]
    profile.set_shape(entry.name, (1, *rest), (4, *rest), (8, *rest))
    config.add_optimization_profile(profile)
    return builder.build_serialized_network(network, config)


def test_tensorrt_parses_and_builds(onnx_file: Path, tmp_path: Path, images: np.ndarray, small_net: nn.Module) -> None:
    out = to_int8(onnx_file, tmp_path / "int8.onnx", [images])
    assert build(out) is not None
    assert build(float_weights(out, tmp_path / "wide.onnx")) is not None
    assert build(to_int8(onnx_file, tmp_path / "mixed.onnx", [images], keep=quantizable_layers(onnx_file)[1:2])) is not None
    pixels = np.random.default_rng(0).integers(0, 256, (40, 16, 16, 3), np.uint8)
    source = export_onnx(small_net, (3, 16, 16), tmp_path / "px.onnx", pixels=True)
    assert build(to_int8(source, tmp_path / "px8.onnx", [pixels])) is not None
