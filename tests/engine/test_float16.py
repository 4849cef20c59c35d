"""FP16 files: halves inside, floats outside, and no number that does not fit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Dict

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from gearnn.engine.errors import EngineError
from gearnn.engine.export import export_onnx
from gearnn.engine.float16 import to_fp16
from gearnn.engine.runtimes import load_runtime


def logits(path: Path, images: np.ndarray) -> np.ndarray:
    with load_runtime(path, threads=1) as runtime:
        return runtime.run(images)


def about(path: Path) -> Dict[str, Any]:
    facts: Dict[str, Any] = json.loads({entry.key: entry.value for entry in onnx.load(str(path)).metadata_props}["fp16"])
    return facts


def test_fp16_is_close_to_fp32_half_as_large_and_otherwise_the_same(onnx_file: Path, tmp_path: Path, images: np.ndarray) -> None:
    out = to_fp16(onnx_file, tmp_path / "fp16.onnx")
    wanted, got = logits(onnx_file, images), logits(out, images)
    assert 0 < np.abs(wanted - got).max() < 5e-3 * np.abs(wanted).max()
    model = onnx.load(str(out))
    onnx.checker.check_model(model, full_check=True)  # nodes in order, types that agree
    assert {entry.data_type for entry in model.graph.initializer} == {onnx.TensorProto.FLOAT16}
    with load_runtime(onnx_file) as before, load_runtime(out) as after:
        assert (after.input_name, after.input_shape, after.input_dtype) == (before.input_name, before.input_shape, np.float32)
        assert after.output_name == before.output_name
        assert after.metadata["precision"] == "fp16" and after.metadata["classes"] == before.metadata["classes"]
    assert about(out) == {"keep": [], "overflow": [], "underflow": {}}


def test_wide_networks_are_half_as_large(tmp_path: Path) -> None:
    source = export_onnx(nn.Sequential(nn.Flatten(), nn.Linear(768, 64)), (3, 16, 16), tmp_path / "a.onnx")
    assert to_fp16(source, tmp_path / "b.onnx").stat().st_size < 0.52 * source.stat().st_size


def test_pixels_stay_pixels(small_net: nn.Module, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 16, 16, 3), np.uint8)
    source = export_onnx(small_net, (3, 16, 16), tmp_path / "px.onnx", pixels=True)
    wanted, got = logits(source, pixels), logits(to_fp16(source, tmp_path / "fp16.onnx"), pixels)
    assert np.abs(wanted - got).max() < 1e-2 * np.abs(wanted).max()


def test_kept_nodes_compute_in_fp32(onnx_file: Path, tmp_path: Path, images: np.ndarray) -> None:
    name = next(node.name for node in onnx.load(str(onnx_file)).graph.node if node.op_type == "Gemm")
    out = to_fp16(onnx_file, tmp_path / "fp16.onnx", [name])
    model = onnx.load(str(out))
    types = {entry.name: entry.data_type for entry in model.graph.initializer}
    gemm = next(node for node in model.graph.node if node.name == name)
    assert types[gemm.input[1]] == onnx.TensorProto.FLOAT and about(out)["keep"] == [name]
    assert np.isfinite(logits(out, images)).all()
    with pytest.raises(EngineError, match="no node '/classifier/Gem'.*did you mean '/classifier/Gemm'"):
        to_fp16(onnx_file, tmp_path / "none.onnx", ["/classifier/Gem"])


def test_weights_that_do_not_fit_stay_in_fp32_with_a_warning(small_net: Any, tmp_path: Path, images: np.ndarray) -> None:
    with torch.no_grad():
        small_net.classifier.weight[0, 0] = 1e5
        small_net.pointwise[0].weight[:3, 0] = 1e-9
    source = export_onnx(small_net, (3, 16, 16), tmp_path / "a.onnx")
    with pytest.warns(RuntimeWarning, match="too large for FP16 in /classifier/Gemm: left in FP32"):
        out = to_fp16(source, tmp_path / "fp16.onnx")
    facts = about(out)
    assert facts["overflow"] == facts["keep"] == ["/classifier/Gemm"]
    assert list(facts["underflow"].values()) == [3]
    wanted, got = logits(source, images), logits(out, images)
    assert np.abs(wanted - got).max() < 1e-2 * np.abs(wanted).max()


def test_activations_that_do_not_fit_stay_in_fp32_where_images_are_given(tmp_path: Path, images: np.ndarray) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3), nn.Flatten(), nn.Linear(576, 5))
    with torch.no_grad():
        net[0].weight *= 3e4
        net[0].bias += 1e5
        net[1].weight *= 1e-4
    source = export_onnx(net, (3, 16, 16), tmp_path / "a.onnx")
    with pytest.warns(RuntimeWarning, match="/0/Conv, /1/Conv"):
        out = to_fp16(source, tmp_path / "fp16.onnx", calibration=[images])
    wanted, got = logits(source, images), logits(out, images)
    assert np.abs(wanted - got).max() < 1e-2 * np.abs(wanted).max()
    first, second = (node for node in onnx.load(str(out)).graph.node if node.op_type == "Conv")
    assert second.input[0] == first.output[0]  # no cast between them, which would make infinities


def test_a_kept_node_at_the_end_is_not_cast_twice(onnx_file: Path, tmp_path: Path) -> None:
    graph = onnx.load(str(to_fp16(onnx_file, tmp_path / "fp16.onnx", ["/classifier/Gemm"]))).graph
    assert next(node.op_type for node in graph.node if "logits" in node.output) == "Gemm"


def test_what_is_no_fp32_network_is_refused_and_nothing_written(onnx_file: Path, tmp_path: Path, images: np.ndarray) -> None:
    garbage = tmp_path / "garbage.onnx"
    garbage.write_bytes(b"garbage")
    half = to_fp16(onnx_file, tmp_path / "fp16.onnx")
    for source, options, message in (
        (tmp_path / "none.onnx", {}, "there is no ONNX file"),
        (garbage, {}, "is not a valid ONNX file"),
        (half, {}, "16-bit weights already"),
        (onnx_file, {"calibration": [images[:, :1]]}, "calibration images must be"),
    ):
        with pytest.raises(EngineError, match=message):
            to_fp16(source, tmp_path / "out.onnx", **options)
    assert not (tmp_path / "out.onnx").exists()


def test_tensorrt_parses_it_strongly_typed(onnx_file: Path, tmp_path: Path) -> None:
    trt = pytest.importorskip("tensorrt_rtx")
    name = next(node.name for node in onnx.load(str(onnx_file)).graph.node if node.op_type == "Gemm")
    for keep in ([], [name]):
        out = to_fp16(onnx_file, tmp_path / "fp16.onnx", keep)
        builder = trt.Builder(trt.Logger(trt.Logger.ERROR))
        network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
        parser = trt.OnnxParser(network, trt.Logger(trt.Logger.ERROR))
        assert parser.parse(out.read_bytes()), [str(parser.get_error(index)) for index in range(parser.num_errors)]
        assert network.get_input(0).dtype == network.get_output(0).dtype == trt.DataType.FLOAT
        inside = {network.get_layer(index).get_output(0).dtype for index in range(network.num_layers)}
        assert trt.DataType.HALF in inside
