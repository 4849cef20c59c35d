"""16-bit floats on the CPU, where Numba has none: arrays of their bits, widened and narrowed inside compiled code.

LLVM's own conversions are used: one instruction for several values where the processor has them (F16C, NEON).
"""

from __future__ import annotations

from typing import Any, Callable, Tuple

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic


@intrinsic
def float_to_half(_typing: Any, value: Any) -> Tuple[Any, Any]:
    """float32 → float16 bits, uint16, to the nearest, ties to even; beyond 65,504 infinity."""

    def code(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.bitcast(builder.fptrunc(arguments[0], ir.HalfType()), ir.IntType(16))

    return types.uint16(types.float32), code


@intrinsic
def to_float(_typing: Any, element: Any) -> Tuple[Any, Any]:
    """An element of an array → float32, exactly: float32 itself, float16 as uint16 bits, bfloat16 as int16 bits."""
    return types.float32(element), _converting(element)


def widened(builder: Any, values: Any, element: Any, shape: Callable[[Any], Any]) -> Any:
    """LLVM code for ``to_float`` of one value or of a vector.

    Args:
        element: Numba's type of one element.
        shape: an LLVM type → itself, or a vector of it.
    """
    if element == types.float32:
        return values
    if element == types.uint16:
        return builder.fpext(builder.bitcast(values, shape(ir.HalfType())), shape(ir.FloatType()))
    if element == types.int16:  # bfloat16 is the upper half of a float32
        wide = builder.zext(values, shape(ir.IntType(32)))
        count = getattr(wide.type, "count", 0)
        sixteen = ir.Constant(wide.type, [16] * count if count else 16)
        return builder.bitcast(builder.shl(wide, sixteen), shape(ir.FloatType()))
    raise TypeError(f"expected float32, uint16 or int16, got {element}")


def _converting(element: Any) -> Callable[..., Any]:
    def code(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return widened(builder, arguments[0], element, lambda kind: kind)

    return code
