"""Recording what is queued on a CUDA stream, to launch it again as one: through the driver's own library.

Names and numbers are those of NVIDIA's CUDA driver API reference (stream management, graph management); CUDA 11.4 or later.
Not run on hardware.
"""

from __future__ import annotations

import ctypes
from typing import Any, Callable, Optional

from gearnn.engine import cuda_driver
from gearnn.engine.errors import EngineError

_THREAD_LOCAL = 1  # CU_STREAM_CAPTURE_MODE_THREAD_LOCAL: other threads go on as they were


class CudaGraph:
    """Recorded work; made by `capture`."""

    def __init__(self, cuda: Any, executable: ctypes.c_void_p, stream: int) -> None:
        self._cuda = cuda
        self._executable: Optional[ctypes.c_void_p] = executable
        self._stream = ctypes.c_void_p(stream)

    def launch(self) -> None:
        """Queue the work on the stream it was recorded from.

        Raises:
            EngineError: if CUDA refuses.
        """
        _call(self._cuda, "cuGraphLaunch", self._executable, self._stream)

    def close(self) -> None:
        """Release it; may be called twice."""
        if self._executable is not None:
            executable, self._executable = self._executable, None
            _call(self._cuda, "cuGraphExecDestroy", executable)


def capture(stream: int, work: Callable[[], None]) -> CudaGraph:
    """Record what ``work`` queues on a stream; it is not executed.

    Args:
        stream: handle of a stream of the current context.
        work: must queue on this stream only, and not wait for it.

    Raises:
        EngineError: if CUDA or ``work`` refuses.
    """
    cuda = cuda_driver.driver()
    if cuda is None:
        raise EngineError("CUDA graphs need the CUDA driver, and there is none here: load without them")
    graph, executable = ctypes.c_void_p(), ctypes.c_void_p()
    _call(cuda, "cuStreamBeginCapture_v2", ctypes.c_void_p(stream), ctypes.c_int(_THREAD_LOCAL))
    try:
        work()
    except BaseException:
        # The stream must leave the recording, and the first failure is the one to tell.
        cuda.cuStreamEndCapture(ctypes.c_void_p(stream), ctypes.byref(graph))
        _destroy(cuda, graph)
        raise
    _call(cuda, "cuStreamEndCapture", ctypes.c_void_p(stream), ctypes.byref(graph))
    try:
        _call(cuda, "cuGraphInstantiateWithFlags", ctypes.byref(executable), graph, ctypes.c_ulonglong(0))
    finally:
        _destroy(cuda, graph)
    return CudaGraph(cuda, executable, stream)


def _destroy(cuda: Any, graph: ctypes.c_void_p) -> None:
    if graph.value:
        cuda.cuGraphDestroy(graph)


def _call(cuda: Any, name: str, *arguments: Any) -> None:
    function = getattr(cuda, name, None)
    if function is None:
        raise EngineError(f"this CUDA driver has no {name}, which CUDA graphs need: load without them, or update to CUDA 11.4")
    status = function(*arguments)
    if status != 0:
        raise EngineError(f"CUDA's {name} failed with error {status}: load without CUDA graphs")
