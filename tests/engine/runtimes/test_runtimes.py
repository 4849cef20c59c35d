from __future__ import annotations

import sys

import pytest

from gearnn.engine import cuda_driver, tensorrt_api
from gearnn.engine.errors import EngineError
from gearnn.engine.runtimes import _HOMES, Runtime, load_runtime, probe, register_runtime
from gearnn.engine.runtimes.onnxruntime import OnnxRuntime
from gearnn.engine.runtimes.tensorrt import TensorRTRuntime


@pytest.mark.parametrize("name", ["auto", "onnxruntime"])
def test_loads_by_name(onnx_file, name):
    with load_runtime(str(onnx_file), name, threads=1) as runtime:
        assert isinstance(runtime, OnnxRuntime) and isinstance(runtime, Runtime)
        assert runtime.threads == 1


def test_refuses_other_names(onnx_file):
    with pytest.raises(EngineError, match="no runtime called 'trt': use one of auto, onnxruntime, tensorrt, tensorrt_rtx"):
        load_runtime(onnx_file, "trt")


@pytest.mark.parametrize("name", ["net.engine", "net.plan", "net.TRT", "net"])
def test_engines_load_in_what_their_manifest_names(engines, onnx_file, name):
    path = engines.install().write(onnx_file)
    manifest = path.with_name(path.name + ".manifest.json").rename(path.with_name(name + ".manifest.json"))
    path = path.rename(path.with_name(name))
    for runtime in ("auto", "tensorrt"):
        with load_runtime(path, runtime) as loaded:
            assert type(loaded) is TensorRTRuntime
    manifest.write_text(manifest.read_text().replace('"runtime": "tensorrt"', '"runtime": "tensorrt_rtx"'))
    with pytest.raises(EngineError, match="is for tensorrt_rtx, not for tensorrt"):
        load_runtime(path, "tensorrt")


def test_a_choice_that_cannot_run_a_file_says_what_can(engines, onnx_file, tmp_path):
    with pytest.raises(EngineError, match="tensorrt runs engines, .* is an ONNX file: build one with gearnn build .*onnx"):
        load_runtime(onnx_file, "tensorrt")
    with pytest.raises(EngineError, match="onnxruntime runs ONNX files, and .* is an engine"):
        load_runtime(engines.install().write(onnx_file), "onnxruntime")
    with pytest.raises(EngineError, match="there is no engine"):
        load_runtime(tmp_path / "none.engine")
    stray = engines.write(onnx_file, fields={"runtime": "onnxruntime"})
    with pytest.raises(EngineError, match="named like an engine, but its manifest says it is for onnxruntime"):
        load_runtime(stray)


def test_a_runtime_that_is_not_installed_says_how_to_get_it(engines, onnx_file, monkeypatch):
    path = engines.install().write(onnx_file)
    monkeypatch.undo()
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(EngineError, match="tensorrt .*JetPack.*pip install tensorrt"):
        load_runtime(path)


def test_probe_without_a_device(monkeypatch):
    monkeypatch.setattr(cuda_driver, "gpu", lambda: None)
    found = probe()
    assert list(found) == ["onnxruntime", "tensorrt", "tensorrt_rtx"]
    assert found["onnxruntime"].endswith("CPUExecutionProvider")
    if not found["tensorrt_rtx"].startswith("not installed"):
        assert found["tensorrt_rtx"].endswith(", no CUDA device: engines can be built ahead of time, not run")


def test_probe_of_what_is_missing(monkeypatch):
    for module in ("tensorrt", "tensorrt_rtx", "onnxruntime"):
        monkeypatch.setitem(sys.modules, module, None)
    found = probe()
    assert all(words.startswith("not installed: ") for words in found.values()), found


def test_probe_with_a_device(engines, monkeypatch):
    engines.install("10.3.0")
    assert probe()["tensorrt"] == "10.3.0: Orin of compute capability 8.7"
    monkeypatch.setattr("gearnn.engine.runtimes.find_spec", lambda name: None)
    assert probe()["tensorrt"].endswith("but running needs PyCUDA or torch: pip install pycuda")
    monkeypatch.setattr(cuda_driver, "gpu", lambda: None)
    assert probe()["tensorrt"] == "10.3.0, no CUDA device: it can do nothing here"
    assert tensorrt_api.find("tensorrt").version == "10.3.0"


class OtherRuntime(OnnxRuntime):
    name = "other"


def test_a_registered_runtime_is_loaded_by_name_and_probed(onnx_file, monkeypatch):
    monkeypatch.setattr("gearnn.engine.runtimes._HOMES", dict(_HOMES))
    monkeypatch.setattr("gearnn.engine.runtimes.onnxruntime.OtherRuntime", OtherRuntime, raising=False)
    register_runtime("other", "gearnn.engine.runtimes.onnxruntime", "OtherRuntime")
    register_runtime("missing", "a_module_that_is_not_there", "Runtime")
    with load_runtime(onnx_file, "other", threads=1) as runtime, load_runtime(onnx_file, threads=1) as usual:
        assert type(runtime) is OtherRuntime and type(usual) is OnnxRuntime
    assert list(probe()) == ["onnxruntime", "tensorrt", "tensorrt_rtx", "other", "missing"]
    assert probe()["other"] == "ready"
    assert probe()["missing"] == "not installed: No module named 'a_module_that_is_not_there'"
    with pytest.raises(EngineError, match="use one of auto, missing, onnxruntime, other, tensorrt"):
        load_runtime(onnx_file, "another")
