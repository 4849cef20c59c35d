"""Where Q/DQ goes, and what it holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper, numpy_helper
from torch import Tensor, nn

from gearnn.engine.calibration import collect
from gearnn.engine.errors import EngineError
from gearnn.engine.export import export_onnx
from gearnn.engine.onnx_model import read_model
from gearnn.engine.qdq import activations, check_runtime, insert, quantizable, quantize_weights


def graph_of(path: Path, images: np.ndarray, runtime: str, keep: Any = ()) -> Any:
    model = read_model(path)
    quantized = insert(model, collect(model, activations(model), [images]).limits, keep, runtime)
    onnx.checker.check_model(quantized)
    return quantized.graph


def producers(graph: Any) -> Dict[str, Any]:
    return {output: node for node in graph.node for output in node.output}


def tensors(graph: Any) -> Dict[str, np.ndarray]:
    return {entry.name: numpy_helper.to_array(entry) for entry in graph.initializer}


def test_every_layer_with_constant_weights_is_found(onnx_file: Path) -> None:
    layers = quantizable(read_model(onnx_file))
    assert [(layer.operator, layer.axis, layer.weights) for layer in layers] == [
        ("Conv", 0, 8 * 3 * 9), ("Conv", 0, 8 * 9), ("Conv", 0, 64), ("Gemm", 0, 160),
    ]  # fmt: skip


def test_tensorrt_gets_signed_symmetric_pairs_in_front_of_layers_only(onnx_file: Path, images: np.ndarray) -> None:
    graph = graph_of(onnx_file, images, "tensorrt")
    made, held = producers(graph), tensors(graph)
    layers = [node for node in graph.node if node.op_type in ("Conv", "Gemm")]
    assert len(layers) == 4
    for layer in layers:
        dequantize = made[layer.input[0]]
        quantize = made[dequantize.input[0]]
        assert (quantize.op_type, dequantize.op_type) == ("QuantizeLinear", "DequantizeLinear")
        assert list(quantize.input[1:]) == list(dequantize.input[1:])
        assert held[quantize.input[2]].dtype == np.int8 and held[quantize.input[2]] == 0
        weights = made[layer.input[1]]
        assert weights.op_type == "DequantizeLinear" and held[weights.input[0]].dtype == np.int8
        assert held[weights.input[1]].shape == held[weights.input[2]].shape == (held[weights.input[0]].shape[0],)
        assert held[layer.input[2]].dtype == np.float32
    for node in graph.node:
        if node.op_type == "Relu":
            assert made[node.input[0]].op_type in ("Conv", "Add")
    assert not any(values.dtype == np.float32 and values.ndim > 1 for values in held.values())


def test_the_residual_branch_that_is_not_the_convolution_is_quantised(onnx_file: Path, images: np.ndarray) -> None:
    for runtime, wanted in (("tensorrt", {"Conv", "DequantizeLinear"}), ("onnxruntime", {"DequantizeLinear"})):
        graph = graph_of(onnx_file, images, runtime)
        add = next(node for node in graph.node if node.op_type == "Add")
        assert {producers(graph)[name].op_type for name in add.input} == wanted


class TwoBranches(nn.Module):
    """A sum of two convolutions, as where a residual block changes the number of channels."""

    def __init__(self) -> None:
        super().__init__()
        self.large, self.small = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(3, 4, 1)

    def forward(self, images: Tensor) -> Tensor:
        return (self.large(images) + self.small(images)).mean((2, 3))


def test_of_two_convolutions_the_smaller_one_is_quantised(tmp_path: Path, images: np.ndarray) -> None:
    path = export_onnx(TwoBranches(), (3, 16, 16), tmp_path / "a.onnx")
    graph = graph_of(path, images, "tensorrt")
    add = next(node for node in graph.node if node.op_type == "Add")
    made = producers(graph)
    sources = [made[name] for name in add.input]
    direct = next(node for node in sources if node.op_type == "Conv")
    other = next(node for node in sources if node.op_type == "DequantizeLinear")
    assert direct.name == "/large/Conv" and made[made[other.input[0]].input[0]].name == "/small/Conv"
    kept = graph_of(path, images, "tensorrt", ["/small/Conv", "/large/Conv"])
    assert not any(node.op_type == "QuantizeLinear" for node in kept.node)


def test_onnxruntime_gets_unsigned_pairs_and_weights_that_cannot_saturate(onnx_file: Path, images: np.ndarray) -> None:
    graph = graph_of(onnx_file, images, "onnxruntime")
    held = tensors(graph)
    for node in graph.node:
        if node.op_type == "QuantizeLinear":
            assert held[node.input[2]].dtype == np.uint8
    weights = [values for values in held.values() if values.dtype == np.int8 and values.ndim > 1]
    assert len(weights) == 4 and max(np.abs(values.astype(int)).max() for values in weights) == 64


def test_kept_layers_read_and_hold_floats(onnx_file: Path, images: np.ndarray) -> None:
    kept = quantizable(read_model(onnx_file))[1]
    graph = graph_of(onnx_file, images, "tensorrt", [kept.name])
    node = next(node for node in graph.node if node.name == kept.name)
    assert tensors(graph)[node.input[1]].dtype == np.float32
    assert producers(graph)[node.input[0]].op_type == "Relu"
    assert sum(node.op_type == "QuantizeLinear" for node in graph.node) == 4  # three layers, and the branch of the sum


class Tied(nn.Module):
    """Two layers with one weight, and a product with a weight that is not transposed."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)
        self.table = nn.Parameter(torch.randn(3, 5, generator=torch.Generator().manual_seed(0)))

    def forward(self, images: Tensor) -> Tensor:
        return self.conv(torch.relu(self.conv(images))).mean((2, 3)) @ self.table


def test_shared_weights_are_stored_once_and_products_scale_their_columns(tmp_path: Path, images: np.ndarray) -> None:
    path = export_onnx(Tied(), (3, 16, 16), tmp_path / "a.onnx")
    layers = quantizable(read_model(path))
    assert [(layer.operator, layer.axis) for layer in layers] == [("Conv", 0), ("Conv", 0), ("MatMul", 1)]
    graph = graph_of(path, images, "tensorrt")
    assert sum(values.dtype == np.int8 and values.ndim > 1 for values in tensors(graph).values()) == 2
    partly = graph_of(path, images, "tensorrt", [layers[0].name])
    held = [values for values in tensors(partly).values() if values.ndim == 4]
    assert sorted(str(values.dtype) for values in held) == ["float32", "int8"]


def test_weights_that_are_computed_are_left_alone() -> None:
    node = helper.make_node("MatMul", ["a", "b"], ["c"], name="m")
    assert quantizable(helper.make_model(helper.make_graph([node], "g", [], []))) == ()


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 6), st.integers(0, 1), st.sampled_from([64, 127]))
def test_quantised_weights_are_within_half_a_step(seed: int, channels: int, axis: int, limit: int) -> None:
    generator = np.random.default_rng(seed)
    weights = (generator.normal(size=(channels, 5)) * 10.0 ** generator.integers(-6, 3, (channels, 1))).astype(np.float32)
    weights[0] *= generator.integers(0, 2)  # a channel that is all zero, sometimes
    weights = weights if axis == 0 else weights.T
    values, scales = quantize_weights(weights, axis, limit)
    steps = scales[:, None] if axis == 0 else scales
    assert values.dtype == np.int8 and scales.dtype == np.float32 and (scales > 0).all()
    assert np.abs(values.astype(int)).max(initial=0) <= limit
    assert (np.abs(values * steps - weights) <= steps * 0.5001).all()
    largest = np.abs(values.astype(int)).max(axis=1 - axis)
    assert ((largest == limit) | (np.abs(weights).max(axis=1 - axis) < 1e-10)).all()


def test_other_runtimes_have_no_placement() -> None:
    with pytest.raises(EngineError, match="no placement of Q/DQ for 'openvino'"):
        check_runtime("openvino")
