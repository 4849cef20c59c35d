"""Arrays of any library, passed on without a copy: NumPy, torch (CPU and CUDA), CuPy, anything with DLPack.

torch and CuPy are recognised by what their arrays offer and are never imported here: whoever made the array has done so.
"""

from __future__ import annotations

import sys
from typing import Any, Tuple

import numpy as np


def on_device(array: Any) -> bool:
    """Whether the array lies in GPU memory."""
    return bool(array.is_cuda) if _is_tensor(array) else hasattr(array, "__cuda_array_interface__")


def dtype_name(array: Any) -> str:
    """The type of the elements as NumPy would call it, "bfloat16" included."""
    return str(array.dtype).rsplit(".", 1)[-1]


def host_view(array: Any) -> np.ndarray:
    """A CPU array as NumPy array on the same memory, strides kept.

    Raises:
        ValueError: for what is no array in CPU memory.
    """
    if isinstance(array, np.ndarray):
        return array
    if on_device(array) or not hasattr(array, "__dlpack__"):
        raise ValueError(f"expected an array in CPU memory (NumPy, torch or DLPack), got {type(array).__name__}.")
    if _is_tensor(array):
        return np.asarray(array.detach().numpy())
    return np.from_dlpack(array)


def empty_on_device(array: Any, shape: Tuple[int, ...], dtype: str) -> Any:
    """A new C-contiguous array on the GPU that ``array`` lies on, of the same library, not initialised.

    Raises:
        ValueError: for an array of another library than torch or CuPy.
    """
    if _is_tensor(array):
        return _torch().empty(shape, dtype=getattr(_torch(), dtype), device=array.device)
    if "cupy" not in sys.modules:
        raise ValueError(f"GPU arrays must be torch's or CuPy's, got {type(array).__module__}.{type(array).__name__}.")
    return sys.modules["cupy"].empty(shape, dtype)


def contiguous(array: Any) -> Any:
    """A GPU array as it is if its memory is C-contiguous, else a copy that is."""
    return array.contiguous() if _is_tensor(array) else sys.modules["cupy"].ascontiguousarray(array)


def device_index(array: Any) -> int:
    """Which GPU an array lies on."""
    return int(array.device.index if _is_tensor(array) else array.device.id)


def like(result: np.ndarray, array: Any) -> Any:
    """A NumPy result as an array of the library of ``array``, on its device: in place on the CPU, copied to a GPU."""
    if _is_tensor(array):
        return _torch().from_numpy(result).to(array.device)
    return sys.modules["cupy"].asarray(result) if on_device(array) else result


def channels_second(array: Any) -> Any:
    """(J, B, H, W, C) → (J, B, C, H, W) on the same memory."""
    return array.permute(0, 1, 4, 2, 3) if _is_tensor(array) else array.transpose(0, 1, 4, 2, 3)


def current_stream(array: Any) -> int:
    """The CUDA stream that the array's library works on now, as a pointer; 0 is the default stream."""
    if _is_tensor(array):
        return int(_torch().cuda.current_stream(array.device).cuda_stream)
    if "cupy" in sys.modules:
        return int(sys.modules["cupy"].cuda.get_current_stream().ptr)
    return 0


def to_host(array: Any) -> np.ndarray:
    """A NumPy array of the same values: a view where the array lies in CPU memory, else a copy."""
    if _is_tensor(array):
        return host_view(array.detach().cpu())
    if on_device(array):
        return np.asarray(array.get())
    return host_view(array)


def _is_tensor(array: Any) -> bool:
    return "torch" in sys.modules and isinstance(array, _torch().Tensor)


def _torch() -> Any:
    return sys.modules["torch"]
