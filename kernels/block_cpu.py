"""The primitives of a block program on the CPU: one lane, compiled by ``numba.njit``."""

from __future__ import annotations

import numba
import numpy as np

from .block import Block


def cpu_block(half: bool) -> Block:
    """The primitives; ``half`` stores float16 bits into uint16 arrays."""
    compile_ = numba.njit(error_model="numpy", nogil=True)

    def zero() -> int:
        return 0

    def one() -> int:
        return 1

    def nothing() -> None:
        pass

    def add(array, index, value):
        array[index] += value

    def lower(array, index, value):
        array[index] = min(array[index], value)

    def raise_(array, index, value):
        array[index] = max(array[index], value)

    def multiply_add(a, b, c):
        return a * b + c

    def blend(a, b, part):
        return a + (b - a) * part

    if half:
        from .half import float_to_half

        def store(out, index, value):
            out[index] = float_to_half(value)
    else:

        def store(out, index, value):
            out[index] = value

    zero, one = compile_(zero), compile_(one)
    return Block(
        compile=compile_,
        index=np.uint64,
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
        blend=compile_(blend),
        store=compile_(store),
    )
