"""Memory on a CUDA device and in page-locked host memory, a stream and its clock: through torch or through PyCUDA.

Surfaces: PyCUDA's "Device Interface Reference" (inducer/pycuda, doc/driver.rst) and torch's ``torch.cuda`` reference (2.0).
Not run on hardware.
"""

from __future__ import annotations

import contextlib
import importlib
import sys
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar, Iterator, List, Tuple, Type

import numpy as np

from gearnn.engine.errors import EngineError, reason


@dataclass
class Buffer:
    """The same number of bytes on the host and on the device.

    Attributes:
        host: uint8 (bytes,), page-locked, so that copies need not wait.
        address: on the device.
        owners: what holds the memory.
    """

    host: np.ndarray
    address: int
    owners: Tuple[Any, ...]


class DeviceMemory(ABC):
    """One CUDA device with one stream of its own; not to be used from two threads at once.

    All but ``active`` is to be called inside ``with memory.active()``, in whatever thread.

    Attributes:
        name: of the package behind it.
        stream: the handle that CUDA libraries take.
    """

    name: ClassVar[str]
    stream: int

    @abstractmethod
    def __init__(self, index: int) -> None:
        """Open a device; raises what the package raises if it is missing or there is no such device."""

    @abstractmethod
    def active(self) -> contextlib.AbstractContextManager:
        """Make the device the calling thread's."""

    @abstractmethod
    def allocate(self, size: int) -> Buffer:
        """A buffer of ``size`` bytes."""

    @abstractmethod
    def upload(self, buffer: Buffer, size: int) -> None:
        """Queue a copy of the first ``size`` bytes to the device; the host's must not change before `synchronize`."""

    @abstractmethod
    def download(self, buffer: Buffer, size: int) -> None:
        """Queue a copy of the first ``size`` bytes to the host, where they are after `synchronize`."""

    @abstractmethod
    def mark(self) -> Any:
        """Queue taking the time."""

    @abstractmethod
    def seconds(self, start: Any, end: Any) -> float:
        """Between two marks, after `synchronize`."""

    @abstractmethod
    def synchronize(self) -> None:
        """Wait for all that was queued; raises what went wrong in it."""

    @abstractmethod
    def free(self, buffer: Buffer) -> None:
        """Give a buffer's memory back; nothing queued may use it any more."""


class PyCudaMemory(DeviceMemory):
    """Through PyCUDA 2020.1 or later, in the device's primary context, which TensorRT and torch use too."""

    name = "pycuda"

    def __init__(self, index: int) -> None:
        cuda = importlib.import_module("pycuda.driver")
        self._cuda: Any = cuda
        self._context = _primary_context(cuda, index)
        with self.active():
            self._stream = cuda.Stream()
        self.stream = int(self._stream.handle)

    @contextlib.contextmanager
    def active(self) -> Iterator[None]:
        self._context.push()
        try:
            yield
        finally:
            self._cuda.Context.pop()

    def allocate(self, size: int) -> Buffer:
        host = self._cuda.pagelocked_empty(size, np.uint8)
        device = self._cuda.mem_alloc(size)
        return Buffer(host, int(device), (device,))

    def upload(self, buffer: Buffer, size: int) -> None:
        self._cuda.memcpy_htod_async(buffer.address, buffer.host[:size], self._stream)

    def download(self, buffer: Buffer, size: int) -> None:
        self._cuda.memcpy_dtoh_async(buffer.host[:size], buffer.address, self._stream)

    def mark(self) -> Any:
        return self._cuda.Event().record(self._stream)

    def seconds(self, start: Any, end: Any) -> float:
        return float(start.time_till(end)) / 1e3

    def synchronize(self) -> None:
        self._stream.synchronize()

    def free(self, buffer: Buffer) -> None:
        (device,), buffer.owners, buffer.address = buffer.owners, (), 0
        device.free()
        buffer.host = np.empty(0, np.uint8)  # the page-locked array goes with its last reference


class TorchMemory(DeviceMemory):
    """Through torch 2.0 or later, built with CUDA."""

    name = "torch"

    def __init__(self, index: int) -> None:
        import torch

        if not torch.cuda.is_available():
            raise EngineError("it finds no CUDA device")
        self._torch: Any = torch
        self._device = torch.device("cuda", index)
        self._stream = torch.cuda.Stream(self._device)
        self.stream = int(self._stream.cuda_stream)

    def active(self) -> contextlib.AbstractContextManager:
        return self._torch.cuda.device(self._device)

    def allocate(self, size: int) -> Buffer:
        torch = self._torch
        host = torch.empty(size, dtype=torch.uint8, pin_memory=True)
        # Torch orders the reuse of memory within the stream it was asked for on, and no other.
        with torch.cuda.stream(self._stream):
            device = torch.empty(size, dtype=torch.uint8, device=self._device)
        return Buffer(host.numpy(), int(device.data_ptr()), (host, device))

    def upload(self, buffer: Buffer, size: int) -> None:
        host, device = buffer.owners
        with self._torch.cuda.stream(self._stream):
            device[:size].copy_(host[:size], non_blocking=True)

    def download(self, buffer: Buffer, size: int) -> None:
        host, device = buffer.owners
        with self._torch.cuda.stream(self._stream):
            host[:size].copy_(device[:size], non_blocking=True)

    def mark(self) -> Any:
        event = self._torch.cuda.Event(enable_timing=True)
        event.record(self._stream)
        return event

    def seconds(self, start: Any, end: Any) -> float:
        return float(start.elapsed_time(end)) / 1e3

    def synchronize(self) -> None:
        self._stream.synchronize()

    def free(self, buffer: Buffer) -> None:
        buffer.host, buffer.owners, buffer.address = np.empty(0, np.uint8), (), 0


def open_memory(index: int = 0) -> DeviceMemory:
    """Memory of a device, through torch if this process has loaded it, else through PyCUDA, else through torch.

    Loading torch takes seconds and hundreds of megabytes, which a deployed program should not pay for two buffers.

    Args:
        index: of the device, among those CUDA shows.

    Raises:
        EngineError: if neither package is there with a CUDA device.
    """
    kinds: List[Type[DeviceMemory]] = [PyCudaMemory, TorchMemory]
    if "torch" in sys.modules:
        kinds.reverse()
    failures = []
    for kind in kinds:
        try:
            return kind(index)
        except Exception as error:  # each package has errors of its own
            failures.append(f"{kind.name}: {reason(error)}")
    raise EngineError(
        f"images cannot be brought to the GPU ({'; '.join(failures)}): pip install pycuda, which needs the CUDA toolkit's "
        "headers, or a torch built with CUDA"
    )


@lru_cache(maxsize=None)
def _primary_context(cuda: Any, index: int) -> Any:
    """Retained once for the life of the process.

    PyCUDA 2026.1 leaves a context on the thread's stack when a primary one that is not current is detached or collected.
    """
    cuda.init()
    return cuda.Device(index).retain_primary_context()
