"""ONNX Runtime: the default everywhere, on the CPU or on what its build brings along."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Tuple, Union

import numpy as np

from gearnn.engine.checked_onnx import checked_onnx
from gearnn.engine.environment import usable_cores
from gearnn.engine.errors import EngineError, reason
from gearnn.engine.runtimes.base import FLOAT32, UINT8, Runtime, Shape

CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
_TYPES: Dict[str, np.dtype] = {"tensor(float)": FLOAT32, "tensor(uint8)": UINT8}
_FATAL = 4  # errors come as exceptions; ONNX Runtime would print them as well


class OnnxRuntime(Runtime):
    """An ONNX Runtime session with explicit threads and providers.

    ``run`` may be called from several threads at once; the calls then share the session's threads. ``close`` lets calls in
    progress finish.

    Attributes:
        providers: execution providers in use, in order of preference; the CPU is always the last.
        input_name, output_name, output_shape: as the file has them, None where a size is open.
    """

    name = "onnxruntime"

    def __init__(self, path: Path, session: Any, version: str, threads: int) -> None:
        super().__init__(path, version, threads, *_input(session, path))
        self.providers: Tuple[str, ...] = tuple(session.get_providers())
        self.metadata = dict(session.get_modelmeta().custom_metadata_map)
        self.device = "cpu" if self.providers == (CPU,) else self.providers[0].replace("ExecutionProvider", "").lower()
        self._session: Any = session
        self.input_name: str = session.get_inputs()[0].name
        self.output_name: str = session.get_outputs()[0].name
        self.output_shape = tuple(size if isinstance(size, int) else None for size in session.get_outputs()[0].shape)
        self._outputs: List[str] = [self.output_name]

    @classmethod
    def load(
        cls,
        path: Union[str, Path],
        threads: Optional[int] = None,
        *,
        providers: Optional[Sequence[str]] = None,
        spinning: bool = True,
    ) -> OnnxRuntime:
        """Load an ONNX file with one input, float32 (batch, C, H, W) or uint8 (batch, H, W, C), and one output.

        Args:
            path: the file.
            threads: threads within an operator, at least 1; by default one for each core this process may use. Operators
                run one after the other.
            providers: execution providers wanted, by ONNX Runtime's names; the CPU takes what they do not. None tries CUDA
                where this build has it and goes to the CPU, with a warning, where it does not start.
            spinning: let idle threads wait actively for a short while. This shortens calls (at batch 1 on two cores by a
                fifth to two fifths) and costs power; turn it off where other work needs the cores.

        Raises:
            EngineError: if ONNX Runtime or a provider is missing, the file is missing, damaged, or has other inputs.
        """
        path = Path(path)
        ort = _import()
        threads = usable_cores() if threads is None else threads
        if threads < 1:
            raise EngineError(f"a runtime needs at least 1 thread, not {threads}")
        checked_onnx(path)  # before native code reads it
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
        options.log_severity_level = _FATAL
        options.add_session_config_entry("session.intra_op.allow_spinning", "1" if spinning else "0")
        try:
            return cls(path, _start(ort, path, options, providers), ort.__version__, threads)
        except UnicodeDecodeError as error:  # of a name or a property
            raise EngineError(f"{path} holds names that are no text ({reason(error)}): export it again") from error

    def _run(self, images: np.ndarray) -> np.ndarray:
        session = self._session
        if session is None:
            raise EngineError(f"{self.path} was closed: load it again to run it")
        try:
            logits: np.ndarray = session.run(self._outputs, {self.input_name: images})[0]
        except Exception as error:
            raise EngineError(
                f"{self.path} failed on images of shape {images.shape} ({reason(error)}): try a smaller batch or export it again"
            ) from error
        return logits

    def close(self) -> None:
        """Release the session; may be called twice."""
        self._session = None


def _import() -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise EngineError(
            f"ONNX Runtime cannot be imported ({reason(error)}): pip install onnxruntime, or your board's own build of it"
        ) from error
    return onnxruntime


def _start(ort: Any, path: Path, options: Any, providers: Optional[Sequence[str]]) -> Any:
    """A session on the providers asked for, or on what can be had."""
    available = ort.get_available_providers()
    for provider in providers or ():
        if provider not in available:
            offers = ", ".join(available)
            raise EngineError(f"this ONNX Runtime has no {provider}: use one of {offers}, or install a build that has it")
    asked = [CUDA] if providers is None and CUDA in available else [name for name in providers or () if name != CPU]
    wanted = [*asked, CPU]
    try:
        session = ort.InferenceSession(str(path), options, providers=wanted, enable_fallback=0)
    except Exception as error:
        if providers is None and asked:
            return _start_on_cpu(ort, path, options, reason(error))
        raise EngineError(f"ONNX Runtime {ort.__version__} cannot load {path} ({reason(error)}): export it again") from error
    if list(session.get_providers())[: len(wanted)] == wanted:
        return session
    if providers is None:
        return _start_on_cpu(ort, path, options, "it did not start")
    raise EngineError(f"{', '.join(asked)} did not start here: check its driver and libraries, or use {CPU}")


def _start_on_cpu(ort: Any, path: Path, options: Any, why: str) -> Any:
    warnings.warn(f"ONNX Runtime's {CUDA} is not used ({why}): networks run on the CPU", RuntimeWarning, stacklevel=4)
    return _start(ort, path, options, (CPU,))


def _input(session: Any, path: Path) -> Tuple[Shape, np.dtype]:
    """Shape, with None for named or unknown sizes, and type of the input."""
    inputs, outputs = session.get_inputs(), session.get_outputs()
    got = ", ".join(f"{node.name}: {node.type} {node.shape}" for node in inputs)
    if len(inputs) != 1 or len(outputs) != 1 or inputs[0].type not in _TYPES or len(inputs[0].shape) != 4:
        raise EngineError(
            f"{path} has inputs {got} and {len(outputs)} outputs: one input, float32 (batch, C, H, W) or uint8 (batch, H, W, C), "
            "and one output are wanted"
        )
    first, second, third, fourth = (size if isinstance(size, int) else None for size in inputs[0].shape)
    return (first, second, third, fourth), _TYPES[inputs[0].type]
