from __future__ import annotations

import pytest

from gearnn.engine.errors import EngineError
from gearnn.engine.runtimes import Runtime, load_runtime
from gearnn.engine.runtimes.onnxruntime import OnnxRuntime


@pytest.mark.parametrize("name", ["auto", "onnxruntime"])
def test_loads_by_name(onnx_file, name):
    with load_runtime(str(onnx_file), name, threads=1) as runtime:
        assert isinstance(runtime, OnnxRuntime) and isinstance(runtime, Runtime)
        assert runtime.threads == 1


def test_refuses_other_names(onnx_file):
    with pytest.raises(EngineError, match="no runtime called 'tensorrt': use one of auto, onnxruntime"):
        load_runtime(onnx_file, "tensorrt")
