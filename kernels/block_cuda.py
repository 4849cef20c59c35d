"""The primitives of a block program on CUDA, compiled by ``numba.cuda.jit``; the same in its simulator."""

from __future__ import annotations

import warnings
from typing import Any, Tuple

import numpy as np

# A global of this module, as everywhere where kernels stand: the simulator replaces it there while a kernel runs.
from numba import config, cuda

from .block import Block

COLUMN_LANES = 32
ROW_LANES = 8


def count(out: Any) -> None:
    """A one-line kernel, to try a device with: adds 1 to each element."""
    out[cuda.threadIdx.x] += 1


def launchable(kernel: Any, blocks: int, lanes: Tuple[int, ...], stream: Any = 0) -> Any:
    """A kernel with its launch configuration, without Numba's remark on every grid of fewer blocks than a GPU could hold."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return kernel[blocks, lanes, stream]


def cuda_block(half: bool) -> Block:
    """The primitives; ``half`` stores float16."""
    compile_ = cuda.jit(device=True)

    def column() -> int:
        return cuda.threadIdx.x

    def columns() -> int:
        return cuda.blockDim.x

    def row() -> int:
        return cuda.threadIdx.y

    def rows() -> int:
        return cuda.blockDim.y

    def lane() -> int:
        return cuda.threadIdx.y * cuda.blockDim.x + cuda.threadIdx.x

    def lanes() -> int:
        return cuda.blockDim.x * cuda.blockDim.y

    def barrier() -> None:
        cuda.syncthreads()

    def add(array, index, value):
        cuda.atomic.add(array, index, value)

    def lower(array, index, value):
        cuda.atomic.min(array, index, value)

    def raise_(array, index, value):
        cuda.atomic.max(array, index, value)

    if config.ENABLE_CUDASIM:

        def multiply_add(a, b, c):
            return a * b + c

        def blend(a, b, part):
            return a + (b - a) * part
    else:
        from numba.cuda.libdevice import dadd_rn, dmul_rn, fadd_rn, fmul_rn

        def multiply_add(a, b, c):
            return dadd_rn(dmul_rn(a, b), c)

        def blend(a, b, part):
            return fadd_rn(a, fmul_rn(b - a, part))

    if half:

        def store(out, index, value):
            out[index] = np.float16(value)
    else:

        def store(out, index, value):
            out[index] = value

    return Block(
        compile=compile_,
        index=np.uint32,
        column=compile_(column),
        columns=compile_(columns),
        row=compile_(row),
        rows=compile_(rows),
        lane=compile_(lane),
        lanes=compile_(lanes),
        barrier=compile_(barrier),
        add=compile_(add),
        lower=compile_(lower),
        raise_=compile_(raise_),
        multiply_add=compile_(multiply_add),
        blend=compile_(blend),
        store=compile_(store),
    )
