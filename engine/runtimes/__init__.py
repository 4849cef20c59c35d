"""Runtimes: what executes a deployed network. One interface, `Runtime`; one module for each."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Dict, Optional, Tuple, Union

from gearnn.engine.errors import EngineError
from gearnn.engine.runtimes.base import Runtime

__all__ = ["Runtime", "load_runtime"]

_HOMES: Dict[str, Tuple[str, str]] = {"onnxruntime": ("gearnn.engine.runtimes.onnxruntime", "OnnxRuntime")}


def load_runtime(path: Union[str, Path], runtime: str = "auto", threads: Optional[int] = None) -> Runtime:
    """Load a deployed network; use it in a ``with`` statement, or call ``close``.

    Args:
        path: an ONNX file with one float32 input (batch, C, H, W).
        runtime: ``auto`` or ``onnxruntime``; auto takes ONNX Runtime.
        threads: threads per call; by default one for each core this process may use.

    Raises:
        EngineError: for an unknown runtime, one that is not installed, or a file it cannot load.
    """
    name = "onnxruntime" if runtime == "auto" else runtime
    if name not in _HOMES:
        raise EngineError(f"there is no runtime called {runtime!r}: use one of auto, {', '.join(sorted(_HOMES))}")
    module, kind = _HOMES[name]
    loaded: Runtime = getattr(importlib.import_module(module), kind).load(path, threads=threads)
    return loaded
