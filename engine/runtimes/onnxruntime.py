"""ONNX Runtime: the default everywhere."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, List, Optional, Tuple, Union

import numpy as np

from gearnn.engine.errors import EngineError
from gearnn.engine.runtimes.base import Runtime


class OnnxRuntime(Runtime):
    """An ONNX file in ONNX Runtime, on the CPU. Calls from several threads at once are safe."""

    name = "onnxruntime"

    def __init__(self, session: Any, threads: int, version: str, shape: Tuple[Optional[int], int, int, int]) -> None:
        self.version = version
        self.threads = threads
        self.input_shape = shape
        self._session = session
        self._input = session.get_inputs()[0].name
        self._outputs: List[str] = [session.get_outputs()[0].name]

    @classmethod
    def load(cls, path: Union[str, Path], threads: Optional[int] = None) -> OnnxRuntime:
        """Load an ONNX file; see `Runtime.load`."""
        import onnxruntime

        path = Path(path)
        if not path.is_file():
            raise EngineError(f"there is no ONNX file {path}: check the path, or export one with gearnn export")
        if threads is not None and threads < 1:
            raise EngineError(f"an engine needs at least 1 thread, not {threads}")
        count = threads or (len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = count
        options.inter_op_num_threads = 1
        options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        options.log_severity_level = 3
        try:
            session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # the library raises its own types, which differ between versions
            reason = str(error).strip().splitlines()[0]
            raise EngineError(f"ONNX Runtime cannot load {path} ({reason}): export the network again") from error
        return cls(session, count, str(onnxruntime.__version__), _image_shape(session, path))

    def _run(self, images: np.ndarray) -> np.ndarray:
        if self._session is None:
            raise EngineError("this runtime has been closed: load the network again")
        logits: np.ndarray = self._session.run(self._outputs, {self._input: images})[0]
        return logits

    def close(self) -> None:
        self._session = None


def _image_shape(session: Any, path: Path) -> Tuple[Optional[int], int, int, int]:
    inputs = session.get_inputs()
    shape = inputs[0].shape if inputs else []
    if len(inputs) != 1 or len(shape) != 4 or not all(isinstance(side, int) for side in shape[1:]):
        found = ", ".join(f"{tensor.name} {tensor.shape}" for tensor in inputs)
        raise EngineError(
            f"{path} does not take one batch of images (batch, channels, height, width) but {found}: export it with gearnn"
        )
    batch = shape[0] if isinstance(shape[0], int) else None
    return batch, shape[1], shape[2], shape[3]
