"""The few facts of an ONNX file read without the onnx package, against the package."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from gearnn.engine.onnx_file import read_onnx


def test_metadata_and_nodes_are_those_the_package_reads(onnx_file: Path) -> None:
    model = onnx.load(str(onnx_file))
    facts = read_onnx(onnx_file.read_bytes())
    assert facts.metadata == {entry.key: entry.value for entry in model.metadata_props}
    assert list(facts.nodes) == [(node.name, node.op_type) for node in model.graph.node]
    assert facts.metadata["precision"] == "fp32" and len(facts.nodes) > 8
    assert not facts.quantized


def test_quantised_files_are_known() -> None:
    node = helper.make_node("QuantizeLinear", ["x", "s", "z"], ["y"], name="q")
    graph = helper.make_graph([node], "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])], [])
    assert read_onnx(helper.make_model(graph).SerializeToString()).quantized


@pytest.mark.parametrize("content", [b"", b"\x00", b"not ONNX at all", b"\x3a\xff\xff\xff\xff\x7f", b"\xff" * 20])
def test_what_is_no_onnx_file_is_refused(content: bytes) -> None:
    with pytest.raises(ValueError):
        read_onnx(content)


@given(st.binary(max_size=200))
def test_arbitrary_bytes_give_facts_or_a_value_error(content: bytes) -> None:
    try:
        read_onnx(content)
    except ValueError as error:
        assert str(error)


def test_a_file_cut_short_is_refused(onnx_file: Path) -> None:
    content = onnx_file.read_bytes()
    with pytest.raises(ValueError, match="too early"):
        read_onnx(content[: len(content) // 2])
