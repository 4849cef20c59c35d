"""The little that the engine asks of CUDA itself, through the driver's own library: no CUDA package is needed for it.

Names and numbers are those of NVIDIA's CUDA driver API reference. Not run on hardware.
"""

from __future__ import annotations

import ctypes
from typing import Any, Callable, Optional, Tuple

import numpy as np

from gearnn.engine.errors import EngineError

_LIBRARIES = ("libcuda.so.1", "nvcuda.dll")
_MAJOR, _MINOR = 75, 76  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR


def driver() -> Optional[Any]:
    """The CUDA driver's library; None where there is none."""
    for library in _LIBRARIES:
        try:
            return ctypes.CDLL(library)
        except OSError:
            continue
    return None


def gpu(index: int = 0) -> Optional[Tuple[str, str]]:
    """Name and compute capability (such as "8.7") of a GPU; None where there is none."""
    cuda = driver()
    if cuda is None:
        return None
    device, name = ctypes.c_int(), ctypes.create_string_buffer(256)
    numbers = ctypes.c_int(), ctypes.c_int()
    calls: Tuple[Callable[[], int], ...] = (
        lambda: cuda.cuInit(0),
        lambda: cuda.cuDeviceGet(ctypes.byref(device), index),
        lambda: cuda.cuDeviceGetName(name, len(name), device),
        lambda: cuda.cuDeviceGetAttribute(ctypes.byref(numbers[0]), _MAJOR, device),
        lambda: cuda.cuDeviceGetAttribute(ctypes.byref(numbers[1]), _MINOR, device),
    )
    if any(call() != 0 for call in calls):
        return None
    return name.value.decode(errors="replace"), f"{numbers[0].value}.{numbers[1].value}"


class DeviceCopy:
    """One buffer on the GPU that arrays are copied to, in the context that TensorRT uses (the device's primary one)."""

    def __init__(self, index: int = 0) -> None:
        self._cuda = driver()
        if self._cuda is None:
            raise EngineError("there is no CUDA driver here, which calibration on the GPU needs: run it on the device")
        device, context = ctypes.c_int(), ctypes.c_void_p()
        self._check("cuInit", 0)
        self._check("cuDeviceGet", ctypes.byref(device), index)
        self._check("cuDevicePrimaryCtxRetain", ctypes.byref(context), device)
        self._device = device
        self._context: Optional[ctypes.c_void_p] = context
        self._address, self._bytes = ctypes.c_uint64(), 0

    def __call__(self, array: np.ndarray) -> int:
        """Copy a contiguous array; its address on the device, valid until the next call.

        Raises:
            EngineError: if the driver refuses, as when memory ran out.
        """
        self._check("cuCtxSetCurrent", self._context)
        if array.nbytes > self._bytes:
            self._free()
            self._check("cuMemAlloc_v2", ctypes.byref(self._address), ctypes.c_size_t(array.nbytes))
            self._bytes = array.nbytes
        self._check("cuMemcpyHtoD_v2", self._address, ctypes.c_void_p(array.ctypes.data), ctypes.c_size_t(array.nbytes))
        return int(self._address.value)

    def close(self) -> None:
        """Give the memory back."""
        if self._context is not None:
            self._check("cuCtxSetCurrent", self._context)
            self._free()
            self._check("cuDevicePrimaryCtxRelease_v2", self._device)
            self._context = None

    def _free(self) -> None:
        if self._bytes:
            self._check("cuMemFree_v2", self._address)
            self._bytes = 0

    def _check(self, call: str, *arguments: Any) -> None:
        status = getattr(self._cuda, call)(*arguments)
        if status != 0:
            raise EngineError(f"CUDA's {call} failed with error {status}: free some memory on the device, or calibrate with less")
