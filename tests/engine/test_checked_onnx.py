"""Files that must not come to a native parser, and the order in which they are looked at."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any, List

import onnx
import pytest
from onnx import TensorProto, helper

from gearnn.engine import checked_onnx as module
from gearnn.engine.checked_onnx import checked_onnx, refers_outside
from gearnn.engine.errors import EngineError
from gearnn.engine.manifest import manifest_path, onnx_manifest, write_manifest
from gearnn.engine.runtimes import load_runtime


def outside(name: str = "weight", location: str = "../../etc/passwd") -> Any:
    tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=[1], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value=location)
    return tensor


def graph(*nodes: Any, tensors: Any = ()) -> Any:
    return helper.make_graph(list(nodes), "g", [], [], initializer=list(tensors))


def constant(tensor: Any) -> Any:
    return helper.make_node("Constant", [], ["c"], value=tensor)


def sparse(tensor: Any) -> Any:
    made = onnx.SparseTensorProto(dims=[1])
    made.values.CopyFrom(tensor)
    return made


def hidden() -> List[Any]:
    """Models with a tensor elsewhere in every place that a tensor can be."""
    deep = graph(constant(outside()))
    for _ in range(5):
        deep = graph(helper.make_node("If", ["x"], ["y"], then_branch=deep, else_branch=graph()))
    trained, called = helper.make_model(graph()), helper.make_model(graph())
    trained.training_info.add().algorithm.CopyFrom(deep)
    function = helper.make_function("d", "f", [], [], [constant(outside())], [])
    called.functions.append(function)
    listed = helper.make_node("Any", [], ["c"], values=[outside()])
    scattered = graph()
    scattered.sparse_initializer.append(sparse(outside()))
    packed = helper.make_node("Constant", [], ["c"], sparse_value=sparse(outside()))
    made = [graph(tensors=[outside()]), graph(constant(outside())), deep, graph(listed), scattered, graph(packed)]
    return [*map(helper.make_model, made), trained, called]


def test_tensors_in_other_files_are_found_wherever_they_hide(tmp_path: Path) -> None:
    for model in hidden():
        assert refers_outside(model.SerializeToString())
    path = tmp_path / "net.onnx"
    for location in ("weights.bin", "/etc/passwd", "../x"):
        path.write_bytes(helper.make_model(graph(tensors=[outside(location=location)])).SerializeToString())
        with pytest.raises(EngineError, match="keeps weights in other files"):
            load_runtime(path)


def test_our_own_files_are_whole(onnx_file: Path) -> None:
    assert not refers_outside(onnx_file.read_bytes())
    assert checked_onnx(onnx_file) == onnx_file.read_bytes()


def test_numbers_that_others_would_cut_to_32_bits() -> None:
    def varint(number: int) -> bytes:
        parts = []
        while number > 127:
            parts.append(number & 127 | 128)
            number >>= 7
        return bytes([*parts, number])

    def message(number: int, content: bytes) -> bytes:
        return varint(number << 3 | 2) + varint(len(content)) + content

    location = varint(14 << 3) + varint(1 << 32 | 1)
    assert refers_outside(message(7, message(5, location)))
    with pytest.raises(ValueError, match="not a protocol-buffers message"):
        refers_outside(message(7, message(5, varint(1 << 32 | 14 << 3) + b"\1")))


def test_graphs_nested_without_end(tmp_path: Path) -> None:
    content = b""
    for _ in range(2000):
        content = _field(1, _field(5, _field(6, content)))
    (tmp_path / "deep.onnx").write_bytes(_field(7, content))
    with pytest.raises(EngineError, match="nested too deep"):
        checked_onnx(tmp_path / "deep.onnx")


def _field(number: int, content: bytes) -> bytes:
    size, parts = len(content), []
    while size > 127:
        parts.append(size & 127 | 128)
        size >>= 7
    return bytes([number << 3 | 2, *parts, size]) + content


def test_the_checksum_is_compared_before_native_code_sees_the_file(onnx_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import onnxruntime

    write_manifest(onnx_file, onnx_manifest(onnx_file, "fp32", "gearnn export"))
    order: List[str] = []
    real_check, real_session = module.check_file, onnxruntime.InferenceSession
    monkeypatch.setattr(module, "check_file", lambda *rest: (order.append("checksum"), real_check(*rest)))
    monkeypatch.setattr(onnxruntime, "InferenceSession", lambda *a, **k: (order.append("native"), real_session(*a, **k))[1])
    load_runtime(onnx_file).close()
    assert order == ["checksum", "native"]
    order.clear()
    content = bytearray(onnx_file.read_bytes())
    content[len(content) // 2] ^= 1
    onnx_file.write_bytes(content)
    with pytest.raises(EngineError, match="is not the file its manifest speaks of"):
        load_runtime(onnx_file)
    assert order == ["checksum"]


def test_a_manifest_that_is_no_manifest_is_not_passed_over(onnx_file: Path) -> None:
    manifest_path(onnx_file).write_text("{}", encoding="utf-8")
    with pytest.raises(EngineError, match="is not a manifest"):
        load_runtime(onnx_file)


def test_pipes_are_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "net.onnx")
    start = time.monotonic()
    with pytest.raises(EngineError, match="there is no ONNX file"):
        load_runtime(tmp_path / "net.onnx")
    assert time.monotonic() - start < 2
