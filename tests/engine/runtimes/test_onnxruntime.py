from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from gearnn.engine.environment import usable_cores
from gearnn.engine.errors import EngineError
from gearnn.engine.runtimes.onnxruntime import OnnxRuntime

CPU = "CPUExecutionProvider"


def test_describes_itself(onnx_file):
    with OnnxRuntime.load(onnx_file, threads=2) as runtime:
        assert (runtime.name, runtime.version, runtime.threads) == ("onnxruntime", onnxruntime.__version__, 2)
        assert runtime.input_shape == (None, 3, 16, 16)
        assert runtime.providers == (CPU,)
        assert runtime.metadata["classes"] == '["a", "b", "c", "d", "e"]'
        assert runtime.path == onnx_file
    assert OnnxRuntime.load(onnx_file).threads == usable_cores()


def test_sets_the_session_options_it_promises(onnx_file, monkeypatch):
    seen = []
    session = onnxruntime.InferenceSession
    monkeypatch.setattr(
        onnxruntime, "InferenceSession", lambda path, options, **rest: seen.append(options) or session(path, options, **rest)
    )
    OnnxRuntime.load(onnx_file, threads=3)
    OnnxRuntime.load(onnx_file, threads=3, spinning=False)
    assert [(options.intra_op_num_threads, options.inter_op_num_threads) for options in seen] == [(3, 1)] * 2
    assert seen[0].execution_mode == onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    assert [options.get_session_config_entry("session.intra_op.allow_spinning") for options in seen] == ["1", "0"]


def test_results_do_not_depend_on_batching_memory_layout_or_threads(onnx_file, images):
    with OnnxRuntime.load(onnx_file, threads=1) as one, OnnxRuntime.load(onnx_file, threads=2, spinning=False) as two:
        logits = one.run(images)
        assert logits.dtype == np.float32 and logits.shape == (70, 5) and logits.std() > 0.1
        np.testing.assert_allclose(np.concatenate([one.run(images[:33]), one.run(images[33:])]), logits, atol=1e-5)
        turned = np.ascontiguousarray(images.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
        assert not turned.flags["C_CONTIGUOUS"]
        np.testing.assert_allclose(one.run(turned), logits, atol=1e-5)
        np.testing.assert_allclose(two.run(images), logits, atol=1e-5)


def test_may_be_called_from_several_threads(onnx_file, images):
    with OnnxRuntime.load(onnx_file, threads=1) as runtime, ThreadPoolExecutor(4) as pool:
        alone = [runtime.run(images[i : i + 1]) for i in range(70)]
        for wanted, got in zip(alone, pool.map(lambda i: runtime.run(images[i : i + 1]), range(70))):
            np.testing.assert_array_equal(got, wanted)


def test_refuses_to_run_once_closed(onnx_file, images):
    runtime = OnnxRuntime.load(onnx_file, threads=1)
    runtime.close()
    runtime.close()
    with pytest.raises(EngineError, match="was closed: load it again"):
        runtime.run(images)


def test_refuses_files_it_cannot_load(onnx_file, tmp_path, capfd):
    whole = onnx_file.read_bytes()
    (tmp_path / "torn.onnx").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "empty.onnx").write_bytes(b"")
    (tmp_path / "text.onnx").write_text("this is not a network\n")
    for name in ("torn", "empty", "text"):
        with pytest.raises(EngineError, match=rf"{name}\.onnx is not a valid ONNX file \(.*\): export it again") as caught:
            OnnxRuntime.load(tmp_path / f"{name}.onnx", threads=1)
        assert "\n" not in str(caught.value)
    for missing in (tmp_path / "missing.onnx", tmp_path):
        with pytest.raises(EngineError, match="there is no ONNX file"):
            OnnxRuntime.load(missing, threads=1)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("threads", [0, -2])
def test_refuses_less_than_one_thread(onnx_file, threads):
    with pytest.raises(EngineError, match="at least 1 thread"):
        OnnxRuntime.load(onnx_file, threads)


def test_refuses_a_provider_that_is_not_here(onnx_file):
    with pytest.raises(EngineError, match=r"has no MadeUpExecutionProvider: use one of .*CPUExecutionProvider"):
        OnnxRuntime.load(onnx_file, 1, providers=("MadeUpExecutionProvider", CPU))


def test_refuses_a_provider_that_did_not_start(onnx_file, monkeypatch):
    session = onnxruntime.InferenceSession
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider", CPU])
    monkeypatch.setattr(onnxruntime, "InferenceSession", lambda path, options, **rest: session(path, options, providers=[CPU]))
    with pytest.raises(EngineError, match="CUDAExecutionProvider did not start here"):
        OnnxRuntime.load(onnx_file, 1, providers=("CUDAExecutionProvider",))


def test_auto_goes_to_the_cpu_with_a_warning_where_cuda_does_not_start(onnx_file, images, monkeypatch):
    session = onnxruntime.InferenceSession
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider", CPU])
    monkeypatch.setattr(onnxruntime, "InferenceSession", lambda path, options, **rest: session(path, options, providers=[CPU]))
    with pytest.warns(RuntimeWarning, match="CUDAExecutionProvider is not used"), OnnxRuntime.load(onnx_file, 1) as runtime:
        assert (runtime.device, runtime.providers) == ("cpu", (CPU,))
        assert runtime.run(images[:2]).shape == (2, 5)


def test_says_when_onnx_runtime_is_missing(onnx_file, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(EngineError, match="pip install onnxruntime"):
        OnnxRuntime.load(onnx_file)


def model_file(path, inputs, outputs=1, kind=TensorProto.FLOAT):
    """A graph that adds up its inputs, with the given shapes."""
    values = [helper.make_tensor_value_info(f"in{i}", kind, shape) for i, shape in enumerate(inputs)]
    results = [helper.make_tensor_value_info(f"out{i}", kind, None) for i in range(outputs)]
    nodes = [helper.make_node("Sum", [value.name for value in values], [result.name]) for result in results]
    graph = helper.make_graph(nodes, "graph", values, results)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), str(path))
    return path


@pytest.mark.parametrize(
    ("inputs", "outputs", "kind"),
    [
        ([["n", 3, 8, 8], ["n", 3, 8, 8]], 1, TensorProto.FLOAT),
        ([["n", 3, 8]], 1, TensorProto.FLOAT),
        ([["n", 3, 8, 8]], 2, TensorProto.FLOAT),
        ([["n", 3, 8, 8]], 1, TensorProto.DOUBLE),
    ],
)
def test_refuses_networks_with_other_inputs(tmp_path, inputs, outputs, kind):
    path = model_file(tmp_path / "other.onnx", inputs, outputs, kind)
    with pytest.raises(EngineError, match=r"has inputs in0: tensor.* float32 \(batch, C, H, W\) or uint8"):
        OnnxRuntime.load(path, 1)


def test_names_and_fixed_sizes_of_other_peoples_files(tmp_path):
    with OnnxRuntime.load(model_file(tmp_path / "fixed.onnx", [[2, 3, "h", 8]]), 1) as runtime:
        assert runtime.input_shape == (2, 3, None, 8)
        images = np.random.default_rng(0).random((2, 3, 5, 8), dtype=np.float32)
        np.testing.assert_array_equal(runtime.run(images), images)


def test_failure_inside_the_network_is_one_sentence(tmp_path, capfd):
    # Shapes that only meet at run time: the reshape fits a batch of 2 alone.
    shape = helper.make_tensor("shape", TensorProto.INT64, [2], [2, 12])
    graph = helper.make_graph(
        [helper.make_node("Reshape", ["images", "shape"], ["logits"])],
        "graph",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["batch", 3, 2, 2])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, None)],
        [shape],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), str(tmp_path / "net.onnx"))
    images = np.random.default_rng(0).random((3, 3, 2, 2), dtype=np.float32)
    with OnnxRuntime.load(tmp_path / "net.onnx", 1) as runtime:
        assert runtime.run(images[:2]).shape == (2, 12)
        with pytest.raises(EngineError, match=r"failed on images of shape \(3, 3, 2, 2\)") as caught:
            runtime.run(images)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")
