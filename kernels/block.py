"""What a block program is written in: lanes, barriers and stores, for the CPU, for CUDA and for its simulator.

A block program is one body of code for all three. Its loops read ``for y in range(row(), n, rows())``: on CUDA the lanes of
a thread block share the iterations, on the CPU there is one lane that does them all, and LLVM sees a plain loop. Steps
that read what other lanes wrote are separated by ``barrier()``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Callable

Function = Callable[..., Any]


@dataclass(frozen=True)
class Block:
    """The primitives of one execution. All but ``compile`` and ``index`` are compiled functions."""

    compile: Callable[[Function], Function]
    """Compiles a function so that others compiled by it, and kernels, can call it."""
    index: Callable[[Any], Any]
    """The type of indices into an image or scratch. Unsigned, since Numba lets negative indices of signed types count from
    the end, and the test for it would keep LLVM from vectorising."""
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
    blend: Function
    """(a, b, part) float32 → a + (b - a)·part, likewise: what is cut off to a level afterwards is the same everywhere."""
    store: Function
    """(out, index, float32 value): writes in the type of ``out``."""
