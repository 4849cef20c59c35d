"""ERA on CUDA: the body compiled by numba.cuda, one thread block per image.

Scratch lies in shared memory where it fits, up to 64×64×3 with one chain, else in global memory. The same code runs in the CUDA
simulator (NUMBA_ENABLE_CUDASIM=1, set before Numba is imported).
"""

from __future__ import annotations

from contextlib import nullcontext
from functools import lru_cache
from typing import Any, Callable, Optional, Sequence, Tuple

import numpy as np
from numba import cuda, from_dtype

from .arrays import contiguous, current_stream, device_index, on_device, to_host
from .block_cuda import COLUMN_LANES, ROW_LANES, cuda_block
from .era_body import make_views
from .families import FAMILIES

_CAPACITIES = (3 * 32 * 32, 3 * 64 * 64)  # values of an image that a variant has shared memory for
_CHANNELS = 3  # whose tables fit beside them
_SHARED_BYTES = 48 * 1024  # what every device gives to a block without being asked
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
    """The kernel of a variant, compiled at its first launch."""
    if capacity is None:
        return cuda.jit(make_global(family, half))
    return cuda.jit(make_shared(family, half, capacity, mixing))


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

    images = cuda.as_cuda_array(contiguous(images)) if device else cuda.to_device(np.ascontiguousarray(to_host(images)), stream)
    target = cuda.as_cuda_array(out) if device else cuda.device_array(out.size, out.dtype, stream=stream)
    arrays = [images.reshape(batch, size), *(cuda.to_device(np.ascontiguousarray(array), stream) for array in plan)]
    arrays += [target.reshape(target.size), channels, height, width, channels_last]
    capacity = shared_capacity(family, size, channels, chains)
    half = str(out.dtype).endswith("float16")
    lanes = (COLUMN_LANES, ROW_LANES)
    if capacity is not None:
        compiled(family, half, capacity, chains > 1)[batch, lanes, stream](*arrays)
    else:
        chosen = FAMILIES[family]
        blocks = min(batch, _BLOCKS)
        scratch = (
            ((blocks, 3, size), chosen.level),
            ((blocks, size if chains > 1 else 1), np.float32),
            ((blocks, chosen.table_size(channels, height, width)), chosen.level),
            ((blocks, chosen.count_size(channels)), np.int32),
        )
        arrays += [cuda.device_array(extent, kind, stream=stream) for extent, kind in scratch]
        compiled(family, half, None, chains > 1)[blocks, lanes, stream](*arrays)
    if not device:
        out.reshape(-1)[...] = target.copy_to_host(stream=stream)
