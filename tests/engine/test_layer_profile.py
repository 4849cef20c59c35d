from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from gearnn.engine.errors import EngineError
from gearnn.engine.float16 import to_fp16
from gearnn.engine.layer_profile import layers_from_trace, layers_from_trtexec, profile_layers_of, to_trtexec
from gearnn.engine.manifest import Manifest, sha256_of, write_manifest
from gearnn.engine.onnx_file import OnnxFile, read_onnx
from gearnn.engine.quantize import to_int8
from gearnn.engine.runtimes import load_runtime


def test_every_layer_of_a_real_network_is_named(onnx_file, images):
    with load_runtime(onnx_file, threads=1) as runtime:
        layers = profile_layers_of(runtime, images[:8], runs=5)
    assert sum(layer.share for layer in layers) == pytest.approx(1)
    assert [layer.mean_ms for layer in layers] == sorted((layer.mean_ms for layer in layers), reverse=True)
    named = {node for layer in layers for node in layer.nodes}
    real = dict(read_onnx(onnx_file.read_bytes()).nodes)
    assert {name for name, op in real.items() if op in ("Conv", "Gemm", "Relu", "Add")} <= named <= set(real)
    assert {"stem.0", "depthwise.0", "pointwise.0", "classifier"} <= {path for layer in layers for path in layer.modules}
    assert all(layer.op.startswith("Reorder") for layer in layers if not layer.nodes)
    assert {layer.provider for layer in layers} == {"CPUExecutionProvider"}


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_every_layer_of_a_converted_network_is_named(onnx_file, images, tmp_path, precision):
    path = tmp_path / f"{precision}.onnx"
    if precision == "fp16":
        to_fp16(onnx_file, path)
    else:
        to_int8(onnx_file, path, [images])
    with load_runtime(path, threads=1) as runtime:
        layers = profile_layers_of(runtime, images[:1], runs=3)
    named = [node for layer in layers for node in layer.nodes]
    assert len(named) == len(set(named))
    real = dict(read_onnx(path.read_bytes()).nodes)
    assert {name for name, op in real.items() if op in ("Conv", "Gemm")} <= set(named) <= set(real)
    of_modules = {path for layer in layers for path in layer.modules}
    assert {"stem.0", "depthwise.0", "pointwise.0", "classifier"} <= of_modules


def event(name, op, duration):
    return {"cat": "Node", "name": f"{name}_kernel_time", "dur": duration, "args": {"op_name": op}}


def test_fused_layers_and_warm_up():
    onnx = OnnxFile(
        {},
        (
            ("/a/Conv", "Conv"),
            ("/r/Relu", "Relu"),
            ("/b/Conv", "Conv"),
            ("/Add", "Add"),
            ("/s/Relu", "Relu"),
            ("/g/Gemm", "Gemm"),
        ),
    )
    once = [
        event("/r/Relu_output_0_nchwc", "Conv", 30),
        event("/s/Relu_output_0_nchwc", "Conv", 50),
        event("ReorderOutput_token_7", "ReorderOutput", 5),
        event("/g/Gemm", "Gemm", 15),
    ]
    cold = [{**entry, "dur": 1000 * entry["dur"]} for entry in once]
    fenced = [{"cat": "Session", "name": "model_run", "dur": 1}, {"cat": "Node", "name": "/g/Gemm_fence_before", "dur": 9}]
    layers = layers_from_trace([*cold, *fenced, *once, *once], onnx, runs=2)
    assert [(layer.nodes, layer.mean_ms) for layer in layers] == [
        (("/b/Conv", "/Add", "/s/Relu"), 0.05),
        (("/a/Conv", "/r/Relu"), 0.03),
        (("/g/Gemm",), 0.015),
        ((), 0.005),
    ]
    assert layers[0].modules == ("b", "s")
    assert layers[0].share == pytest.approx(0.5)


def test_the_slowest_fifth_of_a_layers_executions_does_not_count():
    onnx = OnnxFile({}, (("/a/Conv", "Conv"),))
    times = [31, 30, 4000, 32, 31]  # µs; another program had its turn
    (layer,) = layers_from_trace([event("/a/Conv", "FusedConv", taken) for taken in times], onnx, runs=5)
    assert layer.mean_ms == pytest.approx(0.031)


def test_what_the_runtime_made_up_for_a_layer_is_shown_with_its_module():
    onnx = OnnxFile({}, (("/a/Conv", "Conv"),))
    layers = layers_from_trace(
        [event("/a/Conv", "FusedConv", 30), event("/a/Conv_bias_dq", "DequantizeLinear", 10)], onnx, runs=1
    )
    assert [(layer.nodes, layer.modules) for layer in layers] == [(("/a/Conv",), ("a",)), ((), ("a",))]


def test_trtexec_profiles_are_read_and_written():
    content = [
        {"count": 100},
        {"name": "/a/Conv + /r/Relu", "timeMs": 30.0, "averageMs": 0.3, "percentage": 60.0},
        {"name": "PWN(/b/Sigmoid, /b/Mul)", "timeMs": 10.0, "averageMs": 0.1, "percentage": 20.0},
        {"name": "{ForeignNode[/c/Flatten.../c/Gemm]}", "timeMs": 5.0, "averageMs": 0.05, "percentage": 10.0},
        {
            "name": "Reformatting CopyNode for Input Tensor 0 to /a/Conv + /r/Relu",
            "timeMs": 5.0,
            "averageMs": 0.05,
            "percentage": 10.0,
        },
    ]
    layers = layers_from_trtexec(content)
    assert [layer.nodes for layer in layers] == [("/a/Conv", "/r/Relu"), ("/b/Sigmoid", "/b/Mul"), ("/c/Flatten", "/c/Gemm"), ()]
    assert layers[0].modules == ("a", "r")
    written = to_trtexec(layers, 100)
    assert written[0] == {"count": 100}
    assert [entry["percentage"] for entry in written[1:]] == pytest.approx([60, 20, 10, 10])
    assert layers_from_trtexec(written) == layers


@pytest.mark.parametrize("content", [3, [{"name": "a"}], [{"name": "a", "averageMs": "fast"}]])
def test_other_json_is_refused(content):
    with pytest.raises(EngineError, match="not a profile written by trtexec"):
        layers_from_trtexec(content)


class Engine:
    """As far as a TensorRT runtime is asked here."""

    name = "tensorrt"

    def __init__(self, path):
        self.path = path

    def layer_times(self, images, runs):
        return [("/a/Conv + /r/Relu", 0.2 * len(images)), ("Reformatting CopyNode for Output Tensor 0 to x", 0.1)]


def test_engines_report_their_own_layers(tmp_path):
    engine = Engine(tmp_path / "model.engine")
    layers = profile_layers_of(engine, np.ones((2, 3, 8, 8), np.float32))
    assert [(layer.nodes, layer.mean_ms) for layer in layers] == [(("/a/Conv", "/r/Relu"), 0.4), ((), 0.1)]
    with pytest.raises(EngineError, match="at least 1 run"):
        profile_layers_of(engine, np.ones((2, 3, 8, 8), np.float32), runs=0)


def test_the_onnx_file_beside_an_engine_names_its_nodes(onnx_file, tmp_path):
    engine = Engine(tmp_path / "model.engine")
    nodes = [name for name, _ in read_onnx(onnx_file.read_bytes()).nodes]
    engine.layer_times = lambda images, runs: [(f"{{ForeignNode[{nodes[0]}...{nodes[3]}]}}", 0.4), ("myelin_made_this", 0.1)]
    shapes = {"input_shape": (None, 3, 16, 16), "output_shape": (None, 5)}
    names = {"input_name": "images", "input_dtype": "float32", "layout": "NCHW", "output_name": "logits"}
    manifest = Manifest(
        "model.engine", "0" * 64, "tensorrt", "10.3.0", "fp32", **shapes, **names, onnx_sha256=sha256_of(onnx_file)
    )
    write_manifest(engine.path, manifest)
    layers = profile_layers_of(engine, np.ones((1, 3, 16, 16), np.float32))
    assert [layer.nodes for layer in layers] == [tuple(nodes[:4]), ()]
    write_manifest(engine.path, replace(manifest, onnx_sha256="1" * 64))
    layers = profile_layers_of(engine, np.ones((1, 3, 16, 16), np.float32))
    assert [layer.nodes for layer in layers] == [(nodes[0], nodes[3]), ("myelin_made_this",)]
