"""TensorRT 8.5 to 11 and TensorRT-RTX, on a CUDA device, by named tensors and ``execute_async_v3``.

Surfaces: NVIDIA/TensorRT, python/src/infer/pyCore.cpp and python/docstrings/infer/pyCoreDoc.h at the tags 8.5.3, v10.3.0, v11.1.
Not run on hardware: TensorRT-RTX 1.7 was run up to its refusal to load an engine without a GPU, the rest on recorded stand-ins.
"""

from __future__ import annotations

import contextlib
import threading
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Tuple, Type, TypeVar, Union

import numpy as np

from gearnn.engine import cuda_driver, tensorrt_api
from gearnn.engine.errors import EngineError, reason
from gearnn.engine.manifest import Manifest, check_file, check_manifest, read_manifest
from gearnn.engine.runtimes.base import FLOAT32, Runtime
from gearnn.engine.runtimes.buffers import DeviceMemory, open_memory
from gearnn.engine.runtimes.cuda_graph import CudaGraph, capture
from gearnn.engine.runtimes.tensorrt_engine import Facts, Failure, deserialize, inspect, layer_timer, new_context

Loaded = TypeVar("Loaded", bound="TensorRTRuntime")
_MOST_GRAPHS = 8  # batch sizes; each keeps an execution context with memory for activations


class TensorRTRuntime(Runtime):
    """A TensorRT engine with its manifest.

    ``run`` may be called from several threads: calls take turns, since they share the buffers on the device, which are
    allocated once for the largest batch. Larger batches are run in parts, smaller ones than the engine takes are filled up.
    ``close`` lets a call in progress finish.

    Attributes:
        batch: smallest, best and largest batch that the engine was built for.
        input_name, output_name, output_shape: as the engine has them, None where a size is open.
        buffers: package that holds them: "torch" or "pycuda".
        cuda_graph: whether executions are recorded and launched as CUDA graphs.
        threads: 1: the calling one, which waits.
    """

    name = "tensorrt"

    def __init__(self, path: Path, manifest: Manifest, trt: tensorrt_api.TensorRT, memory: DeviceMemory, gpu: str) -> None:
        self._lock = threading.Lock()
        self._memory: Optional[DeviceMemory] = None  # until the end of this method, so that close has nothing to do before
        self._trt = trt
        self._logger = trt.logger()
        self._runtime, self._engine = deserialize(trt, self._logger, path, manifest)
        self._facts: Facts = inspect(trt, self._engine, path)
        source, target = self._facts.source, self._facts.target
        smallest, _, largest = self.batch = self._facts.batch
        channels, height, width = source.row  # in whatever order
        dtype = FLOAT32 if source.dtype == np.float16 else source.dtype
        super().__init__(path, trt.version, 1, (smallest if smallest == largest else None, channels, height, width), dtype)
        self.device = gpu
        self.metadata = dict(manifest.metadata)
        self.input_name, self.output_name = source.name, target.name
        self.buffers = memory.name
        self.cuda_graph = False
        self._failed = Failure(self._logger, path)
        self._graphs: Dict[int, Tuple[Any, CudaGraph]] = {}
        self._context: Any = new_context(self._engine, self._failed)
        self._set_batch(self._context, largest)
        self._shaped = largest
        row = self._facts.output_row(self._context, largest, path)  # known once the input's shape is
        self.output_shape = (self.input_shape[0], *row)
        self._row_out = int(np.prod(row)) * target.dtype.itemsize
        self._sent, self._received = memory.allocate(largest * source.row_bytes), memory.allocate(largest * self._row_out)
        self._images = self._sent.host.view(source.dtype).reshape(largest, *source.row)
        self._logits = self._received.host.view(target.dtype).reshape(largest, *row)
        self._address(self._context)
        self._stream = memory.stream
        self._memory = memory

    @classmethod
    def load(cls: Type[Loaded], path: Union[str, Path], threads: Optional[int] = None, *, cuda_graph: bool = False) -> Loaded:
        """Load an engine; its manifest is checked before TensorRT sees a byte of it.

        Args:
            path: the engine, with its manifest beside it.
            threads: not used, the work is the GPU's.
            cuda_graph: record the execution of the best batch now and of up to seven other batch sizes when they first come, and
                launch the recording from then on: less work for the host, which counts with small networks (not measured), for
                activations' memory once more for each size.

        Raises:
            EngineError: if the file or its manifest is missing; if they do not fit each other, this TensorRT or this GPU; if
                TensorRT, a GPU, a package for its memory or the memory itself is missing; or if the engine cannot be recorded.
        """
        path = Path(path)
        if not path.is_file():
            raise EngineError(f"there is no engine {path}: check the path, or build one with gearnn build")
        manifest = read_manifest(path)
        if manifest.runtime != cls.name:
            raise EngineError(f"{path} is for {manifest.runtime}, not for {cls.name}: load it with runtime={manifest.runtime!r}")
        try:
            trt = tensorrt_api.find(cls.name)
        except EngineError:
            check_file(path, manifest)  # a damaged file is worth knowing of before TensorRT gets installed for it
            raise
        gpu = cuda_driver.gpu()
        name, capability = gpu if gpu else (None, None)
        check_manifest(path, manifest, runtime=cls.name, runtime_version=trt.version, compute_capability=capability, gpu=name)
        if name is None:
            why = "the driver that is here finds none" if cuda_driver.driver() else "there is no driver"
            kind = f" of compute capability {manifest.compute_capability}" if manifest.compute_capability else ""
            raise EngineError(
                f"{path} needs a GPU{kind}, and no CUDA device was found ({why}): run it on the device, or run the ONNX file here"
            )
        memory = open_memory()
        try:
            with memory.active(), contextlib.ExitStack() as undo:
                loaded = cls(path, manifest, trt, memory, name)
                undo.callback(loaded.close)
                if cuda_graph:
                    loaded._start_graphs()
                undo.pop_all()
        except EngineError:
            raise
        except Exception as error:  # of torch, PyCUDA or CUDA itself
            raise EngineError(
                f"{path} cannot be loaded on {name} ({reason(error)}): close other programs, or build it for smaller batches"
            ) from error
        return loaded

    def _run(self, images: np.ndarray) -> np.ndarray:
        return self._in_parts(images, timed=False)[0]

    def device_seconds(self, images: np.ndarray) -> float:
        """Time on the GPU of one execution, without copies, by CUDA events; images and errors as in `run`."""
        self._check(images)
        return self._in_parts(images, timed=True)[1]

    def layer_times(self, images: np.ndarray, runs: int = 10) -> List[Tuple[str, float]]:
        """Milliseconds that each layer takes on the GPU, in the order of execution, by TensorRT's profiler.

        Layers are timed one by one, so that they sum to more than `device_seconds`.

        Args:
            images: as for `run`, at most the largest batch.
            runs: executions that the mean is of; one more goes before them.

        Raises:
            EngineError: as `run`; for more images than the largest batch or fewer runs than one; if TensorRT reports nothing.
        """
        self._check(images)
        if runs < 1 or len(images) > self.batch[2]:
            raise EngineError(
                f"{self.path} is profiled on 1 to {self.batch[2]} images in at least 1 run, not on {len(images)} in {runs}"
            )
        timer = layer_timer(self._trt)
        with self._taking_turns(images) as memory:
            batch = self._stage(images)
            context = new_context(self._engine, self._failed)
            self._address(context)
            self._set_batch(context, batch)
            context.profiler = timer
            memory.upload(self._sent, batch * self._facts.source.row_bytes)
            for run in range(runs + 1):
                self._execute(context)
                memory.synchronize()
                if run == 0:
                    timer.taken.clear()
            del context
        if not timer.taken:
            raise EngineError(f"{self._trt.flavour} {self.version} reports no layer times of {self.path}: time whole runs only")
        return [(name, total / runs) for name, total in timer.taken.items()]

    def close(self) -> None:
        """Release the engine and the memory on the device; may be called twice."""
        with self._lock:
            memory, self._memory = self._memory, None
            if memory is None:
                return
            with memory.active():
                with contextlib.suppress(Exception):  # a device that failed cannot be waited for
                    memory.synchronize()
                for _, graph in self._graphs.values():
                    with contextlib.suppress(EngineError):
                        graph.close()
                # Views go before their memory, and TensorRT's objects in the reverse of the order they were made in.
                del self._images, self._logits
                self._graphs.clear()
                self._context = None
                self._engine = None
                self._runtime = None
                for buffer in (self._sent, self._received):
                    with contextlib.suppress(Exception):
                        memory.free(buffer)

    def __del__(self) -> None:
        with contextlib.suppress(Exception):  # at exit, or if loading stopped half-way
            self.close()

    def _check(self, images: np.ndarray) -> None:
        if not isinstance(images, np.ndarray) or images.dtype != self.input_dtype:
            raise EngineError(self._wrong_type(images))
        self._check_shape(images.shape)

    @contextlib.contextmanager
    def _taking_turns(self, images: np.ndarray) -> Iterator[DeviceMemory]:
        """The memory of an open engine, for one thread at a time; failures become sentences."""
        with self._lock:
            if self._memory is None:
                raise EngineError(f"{self.path} was closed: load it again to run it")
            self._logger.errors.clear()
            self._logger.warnings.clear()
            try:
                with self._memory.active():
                    yield self._memory
            except EngineError:
                raise
            except Exception as error:  # of torch, PyCUDA or CUDA itself
                raise EngineError(
                    f"{self.path} failed on images of shape {images.shape} ({reason(error)}): load it again in a new process"
                ) from error

    def _in_parts(self, images: np.ndarray, timed: bool) -> Tuple[np.ndarray, float]:
        """Logits, and seconds on the device if they are asked for."""
        largest, seconds = self.batch[2], 0.0
        with self._taking_turns(images) as memory:
            rows = []
            for start in range(0, len(images), largest):
                part = images[start : start + largest]
                batch = self._stage(part)
                memory.upload(self._sent, batch * self._facts.source.row_bytes)
                begin = memory.mark() if timed else None
                self._launch(batch)
                end = memory.mark() if timed else None
                memory.download(self._received, batch * self._row_out)
                memory.synchronize()
                seconds += memory.seconds(begin, end) if timed else 0.0
                rows.append(self._logits[: len(part)].astype(np.float32))
        return (rows[0] if len(rows) == 1 else np.concatenate(rows)), seconds

    def _stage(self, images: np.ndarray) -> int:
        """Put images into page-locked memory, the last one repeated up to the smallest batch; the batch."""
        count = len(images)
        batch = max(count, self.batch[0])
        self._images[:count] = images
        self._images[count:batch] = images[-1]
        return batch

    def _launch(self, batch: int) -> None:
        if self.cuda_graph and batch not in self._graphs and len(self._graphs) < _MOST_GRAPHS:
            self._graphs[batch] = self._record(batch)
        if batch in self._graphs:
            self._graphs[batch][1].launch()
            return
        if batch != self._shaped:
            self._set_batch(self._context, batch)
            self._shaped = batch
        self._execute(self._context)

    def _start_graphs(self) -> None:
        self.cuda_graph = True
        self._sent.host[:] = 0
        self._graphs[self.batch[1]] = self._record(self.batch[1])

    def _record(self, batch: int) -> Tuple[Any, CudaGraph]:
        """A recording, with the context that it needs for itself: what a graph was recorded from must not be changed."""
        memory = self._memory
        assert memory is not None
        context = new_context(self._engine, self._failed)
        self._address(context)
        self._set_batch(context, batch)
        # What follows from new shapes is done in the first execution, and cannot be recorded.
        self._execute(context)
        memory.synchronize()
        if hasattr(context, "is_stream_capturable") and not context.is_stream_capturable(memory.stream):
            raise EngineError(f"{self._trt.flavour} {self.version} cannot record {self.path} as a CUDA graph: load it without")
        return context, capture(memory.stream, lambda: self._execute(context))

    def _address(self, context: Any) -> None:
        for port, buffer in ((self._facts.source, self._sent), (self._facts.target, self._received)):
            if not context.set_tensor_address(port.name, buffer.address):
                raise self._failed("takes no memory", "build it again")

    def _set_batch(self, context: Any, batch: int) -> None:
        shape = (batch, *self._facts.source.row)
        if tuple(context.get_tensor_shape(self.input_name)) != shape and not context.set_input_shape(self.input_name, shape):
            raise self._failed(f"takes no batch of {batch}", "build it for that batch")

    def _execute(self, context: Any) -> None:
        if not context.execute_async_v3(self._stream):
            raise self._failed("was not executed", "load it again, or build it again")


class TensorRTRtxRuntime(TensorRTRuntime):
    """An engine of TensorRT-RTX; see `TensorRTRuntime`."""

    name = "tensorrt_rtx"
