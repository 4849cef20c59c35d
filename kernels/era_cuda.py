"""ERA on CUDA: the body compiled by numba.cuda, one thread block per image.

Scratch lies in shared memory where it fits, up to 64×64×3 with one chain, else in global memory. The same code runs in the CUDA
simulator (NUMBA_ENABLE_CUDASIM=1, set before Numba is imported).
"""

from __future__ import annotations

from contextlib import nullcontext
from functools import lru_cache
from typing import Any, Callable, List, Optional, Sequence, Tuple

import numpy as np
from numba import cuda, from_dtype

from .arrays import contiguous, current_stream, device_index, empty_on_device, on_device, to_host
from .block_cuda import COLUMN_LANES, ROW_LANES, cuda_block, launchable
from .compiling import cache_on_disk
from .era_body import make_views
from .families import FAMILIES

_CAPACITIES = (3 * 32 * 32, 3 * 64 * 64)  # values of an image that a variant has shared memory for
_CHANNELS = 3  # whose tables fit beside them
_SHARED_BYTES = 48 * 1024  # what every device gives to a block without being asked
_ALIGNMENT = 256  # bytes, as the driver aligns memory
_BLOCKS = 256  # with global scratch: enough to fill a device, few enough to bound the memory


def shared_capacity(family: str, size: int, channels: int, chains: int) -> Optional[int]:
    """The variant with the least shared memory that an image of ``size`` values fits in; None is the one with global scratch."""
    for capacity in _CAPACITIES:
        fits = size <= capacity and channels <= _CHANNELS
        if fits and shared_bytes(family, capacity, chains > 1) <= _SHARED_BYTES:
            return capacity
    return None


def shared_bytes(family: str, capacity: int, mixing: bool) -> int:
    """Bytes of shared memory a block of a variant takes, but for alignment."""
    chosen = FAMILIES[family]
    table = chosen.table_size(_CHANNELS, 1, capacity // _CHANNELS)
    return (
        (3 * capacity + table) * np.dtype(chosen.level).itemsize
        + 4 * chosen.count_size(_CHANNELS)
        + (4 * capacity if mixing else 4)
    )


def make_shared(family: str, half: bool, capacity: int, mixing: bool) -> Callable[..., None]:
    """The kernel's Python function with shared scratch; ``mixing`` where there is more than one chain."""
    chosen = FAMILIES[family]
    block = cuda_block(half)
    views = make_views(block, chosen.make_step(block))
    level = from_dtype(np.dtype(chosen.level))
    total_size = capacity if mixing else 1
    table_size = chosen.table_size(_CHANNELS, 1, capacity // _CHANNELS)
    count_size = chosen.count_size(_CHANNELS)

    def era_shared(
        images, ops, args, words, chain_weights, mix, crop, flip, mean, std, out, channels, height, width, channels_last
    ):
        # On lines of their own: the simulator tells shared arrays apart by line.
        clean = cuda.shared.array(capacity, level)
        first = cuda.shared.array(capacity, level)
        second = cuda.shared.array(capacity, level)
        total = cuda.shared.array(total_size, np.float32)
        table = cuda.shared.array(table_size, level)
        counts = cuda.shared.array(count_size, np.int32)
        views(
            cuda.blockIdx.x, images, ops, args, words, chain_weights, mix, crop, flip, mean, std,
            clean, first, second, total, table, counts, out, channels, height, width, channels_last,
        )  # fmt: skip

    return era_shared


def make_global(family: str, half: bool) -> Callable[..., None]:
    """The kernel's Python function with scratch in global memory, a row for each block."""
    block = cuda_block(half)
    views = make_views(block, FAMILIES[family].make_step(block))

    def era_global(
        images, ops, args, words, chain_weights, mix, crop, flip, mean, std, out, channels, height, width, channels_last,
        levels, totals, tables, counts,
    ):  # fmt: skip
        b = cuda.blockIdx.x
        for n in range(b, images.shape[0], cuda.gridDim.x):
            views(
                n, images, ops, args, words, chain_weights, mix, crop, flip, mean, std,
                levels[b, 0], levels[b, 1], levels[b, 2], totals[b], tables[b], counts[b],
                out, channels, height, width, channels_last,
            )  # fmt: skip

    return era_global


@lru_cache(maxsize=None)
def compiled(family: str, half: bool, capacity: Optional[int], mixing: bool) -> Any:
    """The kernel of a variant: compiled at its first launch, then found on disk; with global scratch ``mixing`` is True."""
    kernel = cuda.jit(make_global(family, half) if capacity is None else make_shared(family, half, capacity, mixing))
    cache_on_disk(kernel, f"cuda-{family}-{half}-{capacity}-{mixing}")
    return kernel


def run(family: str, images: Any, plan: Sequence[np.ndarray], out: Any, shape: Tuple[int, ...], channels_last: bool) -> None:
    """Fill ``out`` (C-contiguous, float32 or float16), queued on the current stream of the library of ``images``.

    Args:
        images: uint8 (B, C, H, W); on the device, or in host memory, in which case the result is copied back.
        plan: the arrays that ``era_body.make_views`` lists, from ops to std, in host memory.
        shape: (B, C, H, W).
    """
    index = device_index(images) if on_device(images) else 0
    with cuda.gpus[index] if index else nullcontext():
        _launch(family, images, plan, out, shape, channels_last)


def _launch(family: str, images: Any, plan: Sequence[np.ndarray], out: Any, shape: Tuple[int, ...], channels_last: bool) -> None:
    batch, channels, height, width = shape
    size, chains = channels * height * width, plan[3].shape[2]
    device = on_device(images)
    stream: Any = 0  # whose copies from and to host arrays are complete when they return
    if device:
        pointer = current_stream(images)
        stream = cuda.external_stream(pointer) if pointer else cuda.default_stream()

    def empty(extent: Tuple[int, ...], kind: Any) -> Any:
        """Memory of the images' library where they are on the device: it is taken and given back without waiting for the GPU."""
        if device:
            return cuda.as_cuda_array(empty_on_device(images, extent, np.dtype(kind).name), sync=False)
        return cuda.device_array(extent, kind, stream=stream)

    if device:
        source, target = (cuda.as_cuda_array(array, sync=False) for array in (contiguous(images), out))
        uploaded = _uploaded(plan, empty, stream)
    else:
        source = cuda.to_device(np.ascontiguousarray(to_host(images)), stream)
        target = cuda.device_array(out.size, out.dtype, stream=stream)
        uploaded = [cuda.to_device(np.ascontiguousarray(array), stream) for array in plan]
    arrays = [source.reshape(batch, size), *uploaded, target.reshape(target.size), channels, height, width, channels_last]
    capacity = shared_capacity(family, size, channels, chains)
    half, lanes = str(out.dtype).endswith("float16"), (COLUMN_LANES, ROW_LANES)
    if capacity is not None:
        launchable(compiled(family, half, capacity, chains > 1), batch, lanes, stream)(*arrays)
    else:
        chosen = FAMILIES[family]
        blocks = min(batch, _BLOCKS)
        scratch = (
            ((blocks, 3, size), chosen.level),
            ((blocks, size if chains > 1 else 1), np.float32),
            ((blocks, chosen.table_size(channels, height, width)), chosen.level),
            ((blocks, chosen.count_size(channels)), np.int32),
        )
        arrays += [empty(extent, kind) for extent, kind in scratch]
        launchable(compiled(family, half, None, True), blocks, lanes, stream)(*arrays)
    if not device:
        out.reshape(-1)[...] = target.copy_to_host(stream=stream)


def _uploaded(plan: Sequence[np.ndarray], empty: Callable[..., Any], stream: Any) -> List[Any]:
    """A plan's arrays on the device: one piece of memory and one copy for all of them."""
    starts = np.cumsum([0, *(-(-array.nbytes // _ALIGNMENT) * _ALIGNMENT for array in plan)])
    packed = np.zeros(starts[-1], np.uint8)
    for start, array in zip(starts, plan):
        packed[start : start + array.nbytes] = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    held = empty(packed.shape, np.uint8)
    held.copy_to_device(packed, stream=stream)
    return [cuda.as_cuda_array(_Piece(held, int(start), array), sync=False) for start, array in zip(starts, plan)]


class _Piece:
    """A part of an array on the device as an array of its own, by the CUDA array interface."""

    def __init__(self, held: Any, start: int, array: np.ndarray) -> None:
        self.held = held
        self.__cuda_array_interface__ = {
            "shape": array.shape,
            "typestr": array.dtype.str,
            "data": (held.__cuda_array_interface__["data"][0] + start, False),
            "version": 2,
        }
