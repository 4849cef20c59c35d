"""Runtimes: what executes a deployed network. One interface, `Runtime`; one module for each."""

from __future__ import annotations

import importlib
from importlib.util import find_spec
from pathlib import Path
from typing import Dict, Optional, Tuple, Type, Union

from gearnn.engine.errors import EngineError, reason
from gearnn.engine.runtimes.base import Runtime

__all__ = ["Runtime", "load_runtime", "probe", "register_runtime"]

_HOMES: Dict[str, Tuple[str, str]] = {
    "onnxruntime": ("gearnn.engine.runtimes.onnxruntime", "OnnxRuntime"),
    "tensorrt": ("gearnn.engine.runtimes.tensorrt", "TensorRTRuntime"),
    "tensorrt_rtx": ("gearnn.engine.runtimes.tensorrt", "TensorRTRtxRuntime"),
}
_TENSORRT = ("tensorrt", "tensorrt_rtx")
_ENGINES = (".engine", ".plan", ".trt")


def register_runtime(name: str, module: str, kind: str) -> None:
    """Make another runtime available to `load_runtime` by name: class ``kind`` of ``module``, imported when it is asked for.

    It is given ONNX files; what it cannot run it refuses in ``load``.
    """
    _HOMES[name] = (module, kind)


def load_runtime(path: Union[str, Path], runtime: str = "auto", threads: Optional[int] = None) -> Runtime:
    """Load a deployed network; use it in a ``with`` statement, or call ``close``.

    Args:
        path: an ONNX file with one input, float32 (batch, C, H, W) or uint8 (batch, H, W, C), or a TensorRT engine
            (.engine, .plan or .trt) with its manifest beside it.
        runtime: ``onnxruntime``, ``tensorrt``, ``tensorrt_rtx``, one that was registered, or ``auto``: the one that an engine's
            manifest names, and ONNX Runtime for ONNX files.
        threads: threads per call on the CPU; by default one for each core this process may use.

    Raises:
        EngineError: for an unknown runtime, one that is not installed or cannot run the file here, or a file it cannot load.
    """
    if runtime not in ("auto", *_HOMES):
        raise EngineError(f"there is no runtime called {runtime!r}: use one of auto, {', '.join(sorted(_HOMES))}")
    path = Path(path)
    engine = _is_engine(path)
    if runtime in _TENSORRT and path.suffix.lower() == ".onnx":
        raise EngineError(
            f"{runtime} runs engines, and {path} is an ONNX file: build one with gearnn build {path} --runtime {runtime}"
        )
    if runtime not in ("auto", *_TENSORRT) and engine:
        raise EngineError(f"{runtime} runs ONNX files, and {path} is an engine: load the file it was built from, or use auto")
    if runtime == "auto":
        runtime = _of_engine(path) if engine else "onnxruntime"
    loaded: Runtime = _class_of(runtime).load(path, threads=threads)
    return loaded


def probe() -> Dict[str, str]:
    """What each runtime is here, in words: its version and what it can do, or why it is missing. Nothing is loaded or started."""
    built_in = {"onnxruntime": _onnxruntime(), **{flavour: _tensorrt(flavour) for flavour in _TENSORRT}}
    return {**built_in, **{name: _registered(name) for name in _HOMES if name not in built_in}}


def _class_of(runtime: str) -> Type[Runtime]:
    module, kind = _HOMES[runtime]
    found: Type[Runtime] = getattr(importlib.import_module(module), kind)
    return found


def _is_engine(path: Path) -> bool:
    """By its name, or by a manifest for an engine beside it."""
    from gearnn.engine.manifest import manifest_path, read_manifest

    if path.suffix.lower() in (".onnx", *_ENGINES):
        return path.suffix.lower() in _ENGINES
    return manifest_path(path).is_file() and read_manifest(path).runtime in _TENSORRT


def _of_engine(path: Path) -> str:
    from gearnn.engine.manifest import read_manifest

    if not path.is_file():
        raise EngineError(f"there is no engine {path}: check the path, or build one with gearnn build")
    named = read_manifest(path).runtime
    if named not in _TENSORRT:
        raise EngineError(
            f"{path} is named like an engine, but its manifest says it is for {named}: rename it, or build it again"
        )
    return named


def _registered(name: str) -> str:
    try:
        return _class_of(name).state()
    except Exception as error:  # whatever its library does when it is imported
        return f"not installed: {reason(error)}"


def _onnxruntime() -> str:
    try:
        import onnxruntime
    except ImportError as error:
        return f"not installed: {reason(error)}"
    # Azure's computes elsewhere.
    here = [name for name in onnxruntime.get_available_providers() if name != "AzureExecutionProvider"]
    return f"{onnxruntime.__version__}: {', '.join(here)}"


def _tensorrt(flavour: str) -> str:
    from gearnn.engine import cuda_driver, tensorrt_api

    try:
        trt = tensorrt_api.find(flavour)
    except EngineError as error:
        return str(error).replace(f"{flavour} is ", "", 1)
    gpu = cuda_driver.gpu()
    if gpu is None:
        ahead = "engines can be built ahead of time, not run" if trt.features.compute_capabilities else "it can do nothing here"
        return f"{trt.version}, no CUDA device: {ahead}"
    if find_spec("pycuda") is None and find_spec("torch") is None:
        return f"{trt.version}: {gpu[0]} of compute capability {gpu[1]}, but running needs PyCUDA or torch: pip install pycuda"
    return f"{trt.version}: {gpu[0]} of compute capability {gpu[1]}"
