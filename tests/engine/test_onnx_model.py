"""ONNX files read for change, and what is wrong with others."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, List, Optional, Sequence

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from gearnn.engine.errors import EngineError
from gearnn.engine.onnx_model import check_names, float_tensors, read_model, save_model

F = TensorProto.FLOAT


def write(
    path: Path, nodes: Sequence[Any], weights: Sequence[Any] = (), shape: Optional[List[Any]] = None, opset: int = 13
) -> Path:
    graph = helper.make_graph(
        list(nodes),
        "g",
        [helper.make_tensor_value_info("images", F, ["batch", 3, 8, 8] if shape is None else shape)],
        [helper.make_tensor_value_info("logits", F, [None] * len(shape or "NCHW"))],
        list(weights),
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=7), str(path))
    return path


def weight(name: str, *shape: int) -> TensorProto:
    return numpy_helper.from_array(np.random.default_rng(0).normal(size=shape).astype(np.float32), name)


def conv(name: str = "", source: str = "images", target: str = "logits", kernel: str = "w") -> Any:
    return helper.make_node("Conv", [source, kernel], [target], name=name)


def test_nodes_get_unique_names_and_weights_become_initialisers(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Constant", [], ["w"], value=weight("", 3, 3, 1, 1)),
        helper.make_node("Identity", ["w"], ["same"]),
        conv(target="x"),
        conv("Conv_3", "x", kernel="same"),
    ]
    model = read_model(write(tmp_path / "a.onnx", nodes))
    assert [node.op_type for node in model.graph.node] == ["Conv", "Conv"]
    assert [node.input[1] for node in model.graph.node] == ["w", "w"]
    names = [node.name for node in model.graph.node]
    assert all(names) and len(set(names)) == 2 and names[1] == "Conv_3"
    assert [entry.name for entry in model.graph.initializer] == ["w"]


def test_what_is_saved_is_whole_and_has_the_metadata_of_both(tmp_path: Path, onnx_file: Path) -> None:
    out = save_model(read_model(onnx_file), tmp_path / "new" / "out.onnx", {"precision": "int8", "more": "1"})
    model = onnx.load(str(out))
    properties = {entry.key: entry.value for entry in model.metadata_props}
    assert properties["precision"] == "int8" and properties["more"] == "1" and properties["classes"].startswith("[")
    assert not model.graph.value_info and [entry.name for entry in out.parent.iterdir()] == ["out.onnx"]


def test_a_model_that_is_not_valid_is_not_saved(tmp_path: Path, onnx_file: Path) -> None:
    model = read_model(onnx_file)
    model.graph.node[0].input[0] = "nowhere"
    with pytest.raises(EngineError, match="would not be a valid ONNX file"):
        save_model(model, tmp_path / "out.onnx", {})
    assert not (tmp_path / "out.onnx").exists()


def test_float_tensors_are_those_nodes_give(onnx_file: Path) -> None:
    model = read_model(onnx_file)
    assert float_tensors(model) == tuple(output for node in model.graph.node for output in node.output)


def test_missing_and_malformed_files_are_refused(tmp_path: Path, onnx_file: Path) -> None:
    with pytest.raises(EngineError, match="there is no ONNX file"):
        read_model(tmp_path / "none.onnx")
    content = onnx_file.read_bytes()
    for index, broken in enumerate([b"", b"not ONNX", content[: len(content) // 2]]):
        path = tmp_path / f"{index}.onnx"
        path.write_bytes(broken)
        with pytest.raises(EngineError, match="is not a valid ONNX file"):
            read_model(path)


def test_old_opsets_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "old.onnx", [conv("c")], [weight("w", 4, 3, 1, 1)], opset=12)
    with pytest.raises(EngineError, match="has ONNX opset 12.*needs 13"):
        read_model(path)


@pytest.mark.parametrize("shape", [["b", 3, "h", "w"], ["b", 3, None, 8], ["b", 12]])
def test_images_of_any_size_are_refused(tmp_path: Path, shape: List[Any]) -> None:
    node = conv("c") if len(shape) == 4 else helper.make_node("Relu", ["images"], ["logits"])
    path = write(tmp_path / "a.onnx", [node], [weight("w", 4, 3, 1, 1)], shape)
    with pytest.raises(EngineError, match="images of one size"):
        read_model(path)


def test_files_of_another_precision_are_refused(tmp_path: Path) -> None:
    scale = numpy_helper.from_array(np.float32(1), "s")
    quantize = [
        helper.make_node("QuantizeLinear", ["images", "s"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s"], ["logits"]),
    ]
    with pytest.raises(EngineError, match="is quantised already"):
        read_model(write(tmp_path / "q.onnx", quantize, [scale]))
    half = numpy_helper.from_array(np.ones((1, 3, 1, 1), np.float16), "w")
    nodes = [
        helper.make_node("Cast", ["images"], ["x"], to=TensorProto.FLOAT16),
        helper.make_node("Conv", ["x", "w"], ["y"]),
        helper.make_node("Cast", ["y"], ["logits"], to=F),
    ]
    with pytest.raises(EngineError, match="16-bit weights already"):
        read_model(write(tmp_path / "h.onnx", nodes, [half]))


def test_several_inputs_are_refused(tmp_path: Path, onnx_file: Path) -> None:
    model = onnx.load(str(onnx_file))
    model.graph.input.append(helper.make_tensor_value_info("more", F, [1]))
    onnx.save(model, str(tmp_path / "a.onnx"))
    with pytest.raises(EngineError, match="has 2 inputs and 1 outputs"):
        read_model(tmp_path / "a.onnx")


def test_unknown_names_are_answered_with_the_nearest() -> None:
    check_names(("/a/Conv",), ["/a/Conv", "/b/Gemm"], "x.onnx", "layer")
    with pytest.raises(EngineError, match="no layer '/a/Cnv' .* did you mean '/a/Conv'"):
        check_names(("/a/Cnv",), ["/a/Conv", "/b/Gemm"], "x.onnx", "layer")


def test_without_the_onnx_package_a_sentence(monkeypatch: pytest.MonkeyPatch, onnx_file: Path) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(EngineError, match="needs the onnx package .*: pip install onnx"):
        read_model(onnx_file)
