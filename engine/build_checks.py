"""What is wrong with a request for an engine, said before TensorRT says it in its own words."""

from __future__ import annotations

from pathlib import Path
from typing import Optional, Tuple

from gearnn.engine.build_tensorrt import Network
from gearnn.engine.errors import EngineError
from gearnn.engine.manifest import PRECISIONS
from gearnn.engine.tensorrt_api import TensorRT

Batch = Tuple[int, int, int]
Shapes = Tuple[Tuple[int, ...], Tuple[int, ...], Tuple[int, ...]]
BATCH: Batch = (1, 1, 32)
_LEVELS = range(6)


def check_options(precision: str, batch: Optional[Batch], optimization_level: Optional[int]) -> None:
    """Do nothing if the options make sense by themselves; raises EngineError."""
    if precision not in ("auto", *PRECISIONS):
        raise EngineError(f"there is no precision {precision!r}: choose from auto, {', '.join(PRECISIONS)}")
    if batch is not None and not (len(batch) == 3 and 1 <= batch[0] <= batch[1] <= batch[2]):
        raise EngineError(
            f"a batch of {':'.join(map(str, batch))} is not min:opt:max with 1 <= min <= opt <= max: give one such as 1:8:32"
        )
    if optimization_level is not None and optimization_level not in _LEVELS:
        raise EngineError(
            f"there is no optimization level {optimization_level}: choose from {_LEVELS[0]} (fast) to {_LEVELS[-1]} (thorough)"
        )


def profile_shapes(parsed: Network, onnx: Path, batch: Optional[Batch], dla: bool) -> Shapes:
    """Smallest, best and largest shape of the input.

    Args:
        batch: asked for; None takes what the file fixes, or 1 to 32 with 1 the best, or 1 on the DLA.

    Raises:
        EngineError: if the input is not a batch of images of one size, or the file fixes another batch.
    """
    shape = parsed.input_shape
    if len(shape) != 4 or None in shape[1:]:
        sizes = ", ".join("any" if size is None else str(size) for size in shape)
        raise EngineError(
            f"{onnx} takes input of shape ({sizes}): an engine is built for images of one size, export it with fixed channels, "
            "height and width and an open batch"
        )
    fixed = shape[0]
    if fixed is None:
        chosen = batch or ((1, 1, 1) if dla else BATCH)
    elif batch in (None, (fixed, fixed, fixed)):
        chosen = (fixed, fixed, fixed)
    else:
        raise EngineError(
            f"{onnx} takes batches of {fixed} only, not {':'.join(map(str, batch or ()))}: export it with an open batch, "
            f"or build with --batch {fixed}"
        )
    rest = tuple(size for size in shape[1:] if size is not None)
    return (chosen[0], *rest), (chosen[1], *rest), (chosen[2], *rest)


def needs_calibration(trt: TensorRT, parsed: Network, onnx: Path, precision: str, has_images: bool) -> bool:
    """Whether INT8 ranges are to be found by calibration, once it is clear that this precision can be had from this file.

    Raises:
        EngineError: if it cannot, with the file or option that can.
    """
    here = f"{trt.flavour} {trt.version}"
    if precision == parsed.precision:
        if precision == "int8":
            _check_hardware(parsed, here)
        return False
    if trt.typed_by_file:
        raise EngineError(
            f"{onnx} is in {parsed.precision.upper()}, and {here} takes the precision from the file: build from the "
            f"{precision.upper()} file (gearnn bundle makes {_named(precision)}), or leave out --precision"
        )
    if parsed.precision != "fp32":
        raise EngineError(
            f"{onnx} is in {parsed.precision.upper()} already: build from the FP32 file for {precision.upper()}, "
            "or leave out --precision"
        )
    if precision == "fp16":
        return False
    _check_hardware(parsed, here)
    if not trt.features.calibrator:
        raise EngineError(
            f"{onnx} holds no Q/DQ nodes, and {here} has no calibrator: build from model.int8.onnx (gearnn bundle makes it)"
        )
    if not has_images:
        raise EngineError(
            f"{onnx} holds no Q/DQ nodes, so INT8 needs calibration images: name them with --data, or build from model.int8.onnx "
            "(gearnn bundle makes it)"
        )
    return True


def _check_hardware(parsed: Network, here: str) -> None:
    # TensorRT 11 no longer says; every GPU it runs on has INT8.
    if not getattr(parsed.builder, "platform_has_fast_int8", True):
        raise EngineError(f"this GPU has no INT8 ({here} says so): use --precision fp16")


def _named(precision: str) -> str:
    return "model.onnx" if precision == "fp32" else f"model.{precision}.onnx"
