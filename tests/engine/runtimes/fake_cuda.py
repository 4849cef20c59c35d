"""A stand-in CUDA device, and PyCUDA, torch.cuda and the driver's library in front of it.

Sources: PyCUDA's doc/driver.rst (inducer/pycuda), torch's documentation of ``torch.cuda`` (2.0), NVIDIA's CUDA driver API
reference (stream management, graph management).

Work on a stream is done when the stream is waited for, not before; memory on the device has addresses of its own, nothing may
touch what lies outside an allocation, and new memory holds nonsense. So a missing wait, a wrong address or a wrong size shows.
"""

from __future__ import annotations

import contextlib
import threading
import types
from typing import Any, Callable, Dict, Iterator, List, Optional, Tuple

import numpy as np

COPY_MS, FIRST_ADDRESS, FIRST_STREAM = 5.0, 0x7F0000000000, 0x5500


class CudaError(RuntimeError):
    """What PyCUDA, torch and TensorRT's runtime make of an error of CUDA."""


class Gpu:
    """One device.

    Attributes:
        name, capability: of the device.
        allocations: ever made; ``memory``: those that are held.
        capacity: bytes, of all allocations.
        clock: milliseconds that the device has worked.
        waits: number of times a stream was waited for.
    """

    def __init__(self) -> None:
        self.name, self.capability = "Orin", (8, 7)
        self.memory: Dict[int, np.ndarray] = {}
        self.pinned: List[Tuple[int, int]] = []
        self.streams: Dict[int, List[Callable[[], None]]] = {}
        self.captures: Dict[int, List[Callable[[], None]]] = {}
        self.graphs: Dict[int, List[Callable[[], None]]] = {}
        self.allocations, self.launches, self.waits, self.clock = 0, 0, 0, 0.0
        self.capacity = 1 << 30
        self.broken = ""

    def allocate(self, size: int) -> int:
        if size + sum(block.size for block in self.memory.values()) > self.capacity:
            raise CudaError("out of memory")
        self.allocations += 1
        address = FIRST_ADDRESS + self.allocations * (1 << 24)
        self.memory[address] = np.full(size, 0xFF, np.uint8)
        return address

    def free(self, address: int) -> None:
        assert not any(self.streams.values()), "memory was freed with work queued"
        del self.memory[address]

    def view(self, address: int, size: int) -> np.ndarray:
        for start, block in self.memory.items():
            if start <= address and address + size <= start + block.size:
                return block[address - start : address - start + size]
        raise CudaError("an illegal memory access was encountered")

    def new_stream(self) -> int:
        handle = FIRST_STREAM + 16 * len(self.streams)
        self.streams[handle] = []
        return handle

    def queue(self, stream: int, work: Callable[[], None]) -> None:
        self.captures.get(stream, self.streams[stream]).append(work)

    def work(self, ms: float) -> None:
        self.clock += ms

    def synchronize(self, stream: int) -> None:
        if stream in self.captures:
            raise CudaError("operation not permitted when stream is capturing")
        self.waits += 1
        queued, self.streams[stream] = self.streams[stream], []
        if self.broken:
            raise CudaError(self.broken)
        for work in queued:
            work()

    def pin(self, array: np.ndarray) -> np.ndarray:
        self.pinned.append((array.ctypes.data, array.nbytes))
        return array

    def copy(self, stream: int, address: int, host: np.ndarray, to_device: bool) -> None:
        start = host.ctypes.data
        assert any(low <= start and start + host.nbytes <= low + size for low, size in self.pinned), (
            "the host's memory is pageable"
        )

        def work() -> None:
            device = self.view(address, host.nbytes)
            (device if to_device else host)[:] = host if to_device else device
            self.work(COPY_MS)

        self.queue(stream, work)


class Mark:
    """A point in time on a stream."""

    def __init__(self, gpu: Gpu) -> None:
        self.gpu = gpu
        self.at: Optional[float] = None

    def queue(self, stream: int) -> None:
        def work() -> None:
            self.at = self.gpu.clock

        self.gpu.queue(stream, work)

    def until(self, end: Mark) -> float:
        if self.at is None or end.at is None:
            raise CudaError("invalid value: the event has not been reached")
        return end.at - self.at


def pycuda_driver(gpu: Gpu) -> types.ModuleType:
    """``pycuda.driver``, with PyCUDA's rule that nothing works in a thread in which no context was pushed."""
    module: Any = types.ModuleType("pycuda.driver")
    thread = threading.local()

    def current() -> Gpu:
        if getattr(thread, "depth", 0) < 1:
            raise CudaError("invalid device context - no currently active context?")
        return gpu

    class Context:
        def push(self) -> None:
            thread.depth = getattr(thread, "depth", 0) + 1

        @staticmethod
        def pop() -> None:
            current()
            thread.depth -= 1

    class Device:
        def __init__(self, number: int) -> None:
            if not module.started or number != 0:
                raise CudaError("invalid device ordinal")

        def retain_primary_context(self) -> Context:
            return Context()

    class Stream:
        def __init__(self, flags: int = 0) -> None:
            self.handle = current().new_stream()

        def synchronize(self) -> None:
            current().synchronize(self.handle)

    class Event:
        def __init__(self, flags: int = 0) -> None:
            self.mark = Mark(current())

        def record(self, stream: Stream) -> Event:
            self.mark.queue(stream.handle)
            return self

        def time_till(self, end: Event) -> float:
            return self.mark.until(end.mark)

    class DeviceAllocation:
        def __init__(self, size: int) -> None:
            self.address = current().allocate(size)

        def __int__(self) -> int:
            return self.address

        def free(self) -> None:
            current().free(self.address)

    def init(flags: int = 0) -> None:
        module.started = True

    def pagelocked_empty(shape: Any, dtype: Any, order: str = "C", mem_flags: int = 0) -> np.ndarray:
        return current().pin(np.full(shape, 0xFF, dtype))

    def memcpy_htod_async(dest: int, src: np.ndarray, stream: Stream) -> None:
        current().copy(stream.handle, dest, src, to_device=True)

    def memcpy_dtoh_async(dest: np.ndarray, src: int, stream: Stream) -> None:
        current().copy(stream.handle, src, dest, to_device=False)

    module.started = False
    module.Context, module.Device, module.Stream, module.Event, module.mem_alloc = (
        Context,
        Device,
        Stream,
        Event,
        DeviceAllocation,
    )
    module.init, module.pagelocked_empty = init, pagelocked_empty
    module.memcpy_htod_async, module.memcpy_dtoh_async = memcpy_htod_async, memcpy_dtoh_async
    return module


def torch_module(gpu: Gpu) -> types.ModuleType:
    """The part of ``torch`` that moves bytes: copies go to the stream that is current, marked not to block or not."""
    module: Any = types.ModuleType("torch")
    cuda: Any = types.ModuleType("torch.cuda")
    module.cuda, module.uint8 = cuda, "uint8"
    cuda.current = []

    class Stream:
        def __init__(self, device: Any) -> None:
            assert device == ("cuda", 0)
            self.cuda_stream = gpu.new_stream()

        def synchronize(self) -> None:
            gpu.synchronize(self.cuda_stream)

    class Event:
        def __init__(self, enable_timing: bool = False) -> None:
            assert enable_timing
            self.mark = Mark(gpu)

        def record(self, stream: Stream) -> None:
            self.mark.queue(stream.cuda_stream)

        def elapsed_time(self, end: Event) -> float:
            return self.mark.until(end.mark)

    class Tensor:
        def __init__(self, address: int, host: Optional[np.ndarray], size: int, owner: bool = True) -> None:
            self.address, self.host, self.size, self.owner = address, host, size, owner

        def numpy(self) -> np.ndarray:
            assert self.host is not None, "can't convert a CUDA tensor to NumPy"
            return self.host

        def data_ptr(self) -> int:
            return self.address

        def __getitem__(self, part: slice) -> Tensor:
            stop = min(part.stop, self.size)
            return Tensor(self.address, None if self.host is None else self.host[:stop], stop, owner=False)

        def copy_(self, source: Tensor, non_blocking: bool = False) -> None:
            assert self.size == source.size and non_blocking and cuda.current, "this copy would block, or race"
            if self.host is None:
                gpu.copy(cuda.current[-1].cuda_stream, self.address, source.numpy(), to_device=True)
            else:
                gpu.copy(cuda.current[-1].cuda_stream, source.address, self.host, to_device=False)

        def __del__(self) -> None:
            if self.owner and self.host is None:
                gpu.free(self.address)

    def empty(size: int, dtype: Any = None, device: Any = None, pin_memory: bool = False) -> Tensor:
        assert dtype == "uint8"
        if device is None:
            host = np.full(size, 0xFF, np.uint8)
            return Tensor(0, gpu.pin(host) if pin_memory else host, size)
        assert cuda.current, "another stream may still use this memory: torch's allocator orders reuse by stream"
        return Tensor(gpu.allocate(size), None, size)

    @contextlib.contextmanager
    def stream(chosen: Stream) -> Iterator[None]:
        cuda.current.append(chosen)
        yield
        cuda.current.pop()

    cuda.is_available, cuda.Stream, cuda.Event, cuda.stream = lambda: True, Stream, Event, stream
    cuda.device = lambda device: contextlib.nullcontext()
    module.empty, module.device = empty, lambda kind, index: (kind, index)
    return module


class Driver:
    """``libcuda`` by ctypes: what finds the device, and graphs. ``broken``: a call that fails; "-" before it: that is missing."""

    def __init__(self, gpu: Gpu, broken: str = "") -> None:
        self.gpu, self.broken = gpu, broken

    def __getattr__(self, name: str) -> Any:
        if self.broken == "-" + name:
            raise AttributeError(name)
        if self.broken == name:
            return lambda *arguments: 900
        return getattr(type(self), "do_" + name).__get__(self)

    def do_cuInit(self, flags: int) -> int:  # noqa: N802
        return 0

    def do_cuDeviceGet(self, device: Any, index: int) -> int:  # noqa: N802
        return 0

    def do_cuDeviceGetName(self, name: Any, size: int, device: Any) -> int:  # noqa: N802
        name.value = self.gpu.name.encode()
        return 0

    def do_cuDeviceGetAttribute(self, number: Any, attribute: int, device: Any) -> int:  # noqa: N802
        number._obj.value = dict(zip((75, 76), self.gpu.capability))[attribute]
        return 0

    def do_cuStreamBeginCapture_v2(self, stream: Any, mode: Any) -> int:  # noqa: N802
        assert mode.value == 1 and not self.gpu.streams[stream.value]
        self.gpu.captures[stream.value] = []
        return 0

    def do_cuStreamEndCapture(self, stream: Any, graph: Any) -> int:  # noqa: N802
        graph._obj.value = self._keep(self.gpu.captures.pop(stream.value))
        return 0

    def do_cuGraphInstantiateWithFlags(self, executable: Any, graph: Any, flags: Any) -> int:  # noqa: N802
        executable._obj.value = self._keep(list(self.gpu.graphs[graph.value]))
        return 0

    def do_cuGraphLaunch(self, executable: Any, stream: Any) -> int:  # noqa: N802
        self.gpu.launches += 1
        for work in self.gpu.graphs[executable.value]:
            self.gpu.queue(stream.value, work)
        return 0

    def do_cuGraphDestroy(self, graph: Any) -> int:  # noqa: N802
        del self.gpu.graphs[graph.value]
        return 0

    do_cuGraphExecDestroy = do_cuGraphDestroy  # noqa: N815

    def _keep(self, work: List[Callable[[], None]]) -> int:
        self.gpu.graphs[max(self.gpu.graphs, default=0x9900) + 1] = work
        return max(self.gpu.graphs)
