"""TensorRT's names are of the kinds that public logs of 8.5 to 10 show (trtexec --dumpProfile of ResNet, YOLO and BERT)."""

from __future__ import annotations

import pytest

from gearnn.engine.layer_names import ort_nodes, tensorrt_nodes
from gearnn.engine.onnx_file import OnnxFile

NODES = OnnxFile(
    {},
    (
        ("/a/Conv", "Conv"),
        ("/r/Relu", "Relu"),
        ("/b/Conv", "Conv"),
        ("/b/Sigmoid", "Sigmoid"),
        ("/b/Mul", "Mul"),
        ("/c/Flatten", "Flatten"),
        ("/c/Gemm", "Gemm"),
    ),
)


@pytest.mark.parametrize(
    ("name", "nodes"),
    [
        ("/a/Conv + /r/Relu", ("/a/Conv", "/r/Relu")),
        ("/a/Conv || /b/Conv", ("/a/Conv", "/b/Conv")),
        ("PWN(/b/Sigmoid, /b/Mul)", ("/b/Sigmoid", "/b/Mul")),
        ("/b/Conv + PWN(PWN(/b/Sigmoid), PWN(/b/Mul))", ("/b/Conv", "/b/Sigmoid", "/b/Mul")),
        ("PWN((Unnamed Layer* 16) [Shuffle] + /b/Mul)", ("/b/Mul",)),
        ("/r/Relu + (Unnamed Layer* 3)", ("/r/Relu",)),
        ("/b/Conv_myl0_3", ("/b/Conv",)),
        ("/b/Conv_clone_1", ("/b/Conv",)),
        ("Reformatting CopyNode for Input Tensor 0 to /a/Conv + /r/Relu", ()),
        ("Reformatting CopyNode for Output Tensor 0 to {ForeignNode[/c/Flatten.../c/Gemm]}", ()),
        ("__myl_ReluConv_myl0_12", ()),
        ("[HostToDeviceCopy 0]", ()),
    ],
)
def test_tensorrt_names_hold_those_of_nodes(name, nodes):
    assert tensorrt_nodes(name) == nodes
    assert tensorrt_nodes(name, NODES) == nodes


def test_a_part_handed_on_stands_for_all_nodes_between_its_ends():
    name = "{ForeignNode[/b/Conv.../c/Flatten]}"
    assert tensorrt_nodes(name) == ("/b/Conv", "/c/Flatten")
    assert tensorrt_nodes(name, NODES) == ("/b/Conv", "/b/Sigmoid", "/b/Mul", "/c/Flatten")
    assert tensorrt_nodes("{ForeignNode[ONNXTRT_ShapeShuffle_342_output[Constant].../c/Gemm]}", NODES) == ("/c/Gemm",)


def test_only_nodes_of_the_file_count_where_it_is_known():
    name = "/a/Conv + onnx::Relu_12 copy"
    assert tensorrt_nodes(name, NODES) == ("/a/Conv",)
    assert "copy" in tensorrt_nodes(name)


def test_ort_marks_of_precision_and_layout():
    kinds = {
        "InsertedPrecisionFreeCast_/r/Relu_output_0_nchwc": "Conv",
        "/b/Conv_token_7": "Conv",
        "ReorderInput": "ReorderInput",
    }
    assert ort_nodes(kinds, NODES) == {
        "InsertedPrecisionFreeCast_/r/Relu_output_0_nchwc": (("/a/Conv", "/r/Relu"), "/r/Relu"),
        "/b/Conv_token_7": (("/b/Conv", "/b/Sigmoid"), "/b/Conv"),
        "ReorderInput": ((), None),
    }


def test_ort_helpers_serve_a_node_that_another_layer_ran():
    kinds = {
        "/c/Gemm_bias_dq": "DequantizeLinear",
        "/c/Gemm": "Gemm",
        "/r/Relu_output_0_q": "QuantizeLinear",
        "/a/Conv": "FusedConv",
    }
    assert ort_nodes(kinds, NODES) == {
        "/c/Gemm_bias_dq": ((), "/c/Gemm"),
        "/c/Gemm": (("/c/Gemm",), "/c/Gemm"),
        "/r/Relu_output_0_q": ((), "/r/Relu"),
        "/a/Conv": (("/a/Conv", "/r/Relu"), "/a/Conv"),
    }


def test_one_node_has_one_layer():
    found = ort_nodes({"/b/Conv": "Conv", "/b/Conv_token_9": "Conv"}, NODES)
    assert [nodes for nodes, _ in found.values()] == [("/b/Conv", "/b/Sigmoid"), ()]
