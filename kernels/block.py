"""What a block program is written in: lanes, barriers and stores, for the CPU, for CUDA and for its simulator.

A block program is one body of code for all three. Its loops read ``for y in range(row(), n, rows())``: on CUDA the lanes of
a thread block share the iterations, on the CPU there is one lane that does them all, and LLVM sees a plain loop. Steps
that read what other lanes wrote are separated by ``barrier()``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Callable

import numpy as np

Function = Callable[..., Any]

COLUMN_LANES = 32
ROW_LANES = 8


@dataclass(frozen=True)
class Block:
    """The primitives of one execution. All but ``compile`` are compiled functions."""

    compile: Callable[[Function], Function]
    """Compiles a function so that others compiled by it, and kernels, can call it."""
    column: Function
    """() → this lane's first column; ``columns`` () → the step to the next."""
    columns: Function
    row: Function
    """() → this lane's first row; ``rows`` () → the step to the next."""
    rows: Function
    lane: Function
    """() → this lane's number in the block; ``lanes`` () → how many there are."""
    lanes: Function
    barrier: Function
    """() waits until all lanes of the block are here."""
    add: Function
    """(int32 array, index, value): atomic addition."""
    lower: Function
    """(int32 array, index, value): atomic minimum."""
    raise_: Function
    """(int32 array, index, value): atomic maximum."""
    multiply_add: Function
    """(a, b, c) float64 → a·b + c with both roundings, never contracted into one."""
    store: Function
    """(out, index, float32 value): writes in the type of ``out``."""


def cpu_block(half: bool) -> Block:
    """One lane, compiled by ``numba.njit``; ``half`` stores float16 bits into uint16 arrays."""
    import numba

    compile_ = numba.njit(error_model="numpy", nogil=True)

    def zero() -> int:
        return 0

    def one() -> int:
        return 1

    def nothing() -> None:
        pass

    def add(array, index, value):  # type: ignore[no-untyped-def]
        array[index] += value

    def lower(array, index, value):  # type: ignore[no-untyped-def]
        array[index] = min(array[index], value)

    def raise_(array, index, value):  # type: ignore[no-untyped-def]
        array[index] = max(array[index], value)

    def multiply_add(a, b, c):  # type: ignore[no-untyped-def]
        return a * b + c

    if half:
        from .half import float_to_half

        def store(out, index, value):  # type: ignore[no-untyped-def]
            out[index] = float_to_half(value)
    else:

        def store(out, index, value):  # type: ignore[no-untyped-def]
            out[index] = value

    zero, one = compile_(zero), compile_(one)
    return Block(
        compile=compile_,
        column=zero,
        columns=one,
        row=zero,
        rows=one,
        lane=zero,
        lanes=one,
        barrier=compile_(nothing),
        add=compile_(add),
        lower=compile_(lower),
        raise_=compile_(raise_),
        multiply_add=compile_(multiply_add),
        store=compile_(store),
    )


def cuda_block(half: bool) -> Block:
    """A thread block of 32 × 8 lanes, compiled by ``numba.cuda.jit``; the same in the simulator (NUMBA_ENABLE_CUDASIM=1)."""
    from numba import config, cuda

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

    def add(array, index, value):  # type: ignore[no-untyped-def]
        cuda.atomic.add(array, index, value)

    def lower(array, index, value):  # type: ignore[no-untyped-def]
        cuda.atomic.min(array, index, value)

    def raise_(array, index, value):  # type: ignore[no-untyped-def]
        cuda.atomic.max(array, index, value)

    if config.ENABLE_CUDASIM:

        def multiply_add(a, b, c):  # type: ignore[no-untyped-def]
            return a * b + c
    else:
        from numba.cuda.libdevice import dadd_rn, dmul_rn

        def multiply_add(a, b, c):  # type: ignore[no-untyped-def]
            return dadd_rn(dmul_rn(a, b), c)

    if half:

        def store(out, index, value):  # type: ignore[no-untyped-def]
            out[index] = np.float16(value)
    else:

        def store(out, index, value):  # type: ignore[no-untyped-def]
            out[index] = value

    names = dict(column=column, columns=columns, row=row, rows=rows, lane=lane, lanes=lanes, barrier=barrier)
    names.update(add=add, lower=lower, raise_=raise_, multiply_add=multiply_add, store=store)
    return Block(compile=compile_, **{name: compile_(function) for name, function in names.items()})
