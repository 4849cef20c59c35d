"""Inference runtimes behind one interface."""

from __future__ import annotations

from pathlib import Path
from typing import Optional, Union

from gearnn.engine.errors import EngineError
from gearnn.engine.runtimes.base import Runtime


def load_runtime(path: Union[str, Path], runtime: str = "auto", threads: Optional[int] = None) -> Runtime:
    """Load a deployed network into a runtime: ``onnxruntime`` is the only one so far, and what ``auto`` takes.

    Raises:
        EngineError: for an unknown runtime, or a file that cannot be loaded.
    """
    if runtime not in ("auto", "onnxruntime"):
        raise EngineError(f"there is no runtime called {runtime!r}: use auto or onnxruntime")
    from gearnn.engine.runtimes.onnxruntime import OnnxRuntime

    return OnnxRuntime.load(path, threads)


__all__ = ["Runtime", "load_runtime"]
