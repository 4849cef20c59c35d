"""The inner loop of the channel sums on the CPU, as LLVM vector code.

Left to itself, the compiler finds the vectors, but not the memory: rows of a few hundred elements, four at a time, are eight
streams that the processor's own prefetching follows badly. Asking for the next four rows while these are added makes it
up to twice as fast, and is what a compiler's vectoriser does not let through.
"""

from __future__ import annotations

from typing import Any, Tuple

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic
from numba.np.arrayobj import make_array

from .half import widened

LANES = 256
"""The most elements in a row: 3 × 256 float64 sums stay in the first-level cache, beside eight rows of data and eight to come."""
VECTOR = 16
"""Elements added at a time; LLVM splits them into the processor's own vectors."""
_ROWS = 4


@intrinsic
def add_four_rows(_typing: Any, a: Any, g: Any, first: Any, step: Any, width: Any, sums: Any) -> Tuple[Any, Any]:
    """Add Σ g·a, Σ g² and Σ a² over four rows to every lane's sums.

    Args (of the compiled function):
        a, g: flat arrays of float32, uint16 (float16 bits) or int16 (bfloat16 bits).
        first: where the first row begins; the others follow at a distance of ``step``.
        width: of the rows, rounded up to a multiple of ``VECTOR``; what is read must lie in the arrays.
        sums: float64 (3 · LANES,).
    """
    signature = types.void(a, g, types.intp, types.intp, types.intp, sums)

    def vector(kind: Any) -> Any:
        return ir.VectorType(kind, VECTOR)

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kinds = signature.args
        base_a, base_g, base_sums = (make_array(kinds[i])(context, builder, arguments[i]).data for i in (0, 1, 5))
        first, step, width = arguments[2:5]
        index, byte, number = first.type, ir.IntType(8).as_pointer(), ir.IntType(32)
        hint = ir.FunctionType(ir.VoidType(), [byte, number, number, number])
        prefetch = builder.module.declare_intrinsic("llvm.prefetch", [byte], hint)

        def load(base: Any, kind: Any, position: Any) -> Any:
            ahead = builder.gep(base, [builder.add(position, builder.mul(step, index(_ROWS)))])
            builder.call(prefetch, [builder.bitcast(ahead, byte), number(0), number(3), number(1)])
            pointer = builder.bitcast(builder.gep(base, [position]), vector(context.get_value_type(kind.dtype)).as_pointer())
            return widened(builder, builder.load(pointer, align=kind.dtype.bitwidth // 8), kind.dtype, vector)

        with cgutils.for_range_slice(builder, index(0), width, index(VECTOR), index) as (lane, _):
            rows = [builder.add(builder.add(first, lane), builder.mul(step, index(row))) for row in range(_ROWS)]
            pairs = [(load(base_a, kinds[0], row), load(base_g, kinds[1], row)) for row in rows]
            for kind in range(3):
                total = None
                for x, y in pairs:
                    left, right = ((y, x), (y, y), (x, x))[kind]
                    product = builder.fmul(left, right, flags=("contract",))
                    total = product if total is None else builder.fadd(total, product, flags=("contract",))
                place = builder.gep(base_sums, [builder.add(lane, index(kind * LANES))])
                place = builder.bitcast(place, vector(ir.DoubleType()).as_pointer())
                wide = builder.fpext(total, vector(ir.DoubleType()))
                builder.store(builder.fadd(builder.load(place, align=8), wide), place, align=8)
        return context.get_dummy_value()

    return signature, code
