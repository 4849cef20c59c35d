"""INT8 networks: explicit Q/DQ in the ONNX file, calibrated on real images, placed for TensorRT or for ONNX Runtime."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Dict, Sequence, Tuple, Union

from gearnn.engine.calibration import Batches, Progress, Ranges, collect, no_progress
from gearnn.engine.errors import EngineError
from gearnn.engine.onnx_model import check_names, load_checked, read_model, save_model
from gearnn.engine.qdq import activations, check_runtime, insert, quantizable, widen_weights

if TYPE_CHECKING:
    import onnx


def to_int8(
    onnx_path: Union[str, Path],
    out_path: Union[str, Path],
    calibration: Batches,
    *,
    keep: Sequence[str] = (),
    method: str = "minmax",
    runtime: str = "tensorrt",
    progress: Progress = no_progress,
) -> Path:
    """Write an INT8 version of an FP32 network: same input, output, batch and metadata.

    Convolutions, Gemm and MatMul with constant weights get int8 weights (symmetric, one scale per output channel) and 8-bit
    activations (one scale per tensor); everything else, biases among it, stays FP32. See `gearnn.engine.qdq` for where Q/DQ goes.
    Biases and scales take 8 bytes per channel, so that narrow depthwise networks (MobileNet-V1 below some 170,000 parameters) end
    a little above three tenths of their FP32 size; others end nearer to a quarter.

    The metadata properties "precision" ("int8"), "calibration_sha256", "calibration" (JSON: method, images) and "quantization"
    (JSON: runtime, quantized: number of layers, keep: names of those left in FP32) are set.

    Args:
        onnx_path: FP32 file, opset 13 or more, one image input of fixed size; its batch may be open.
        out_path: written whole or not at all.
        calibration: arrays of images as the network takes them, float32 (b, C, H, W) or uint8 (b, H, W, C), or a function that
            gives them. They pass one at a time; only ranges are kept.
        keep: names of nodes that stay in floating point, as `quantizable_layers` gives them.
        method: "minmax", "percentile" or "entropy", see `calibration.collect`.
        runtime: "tensorrt" for signed symmetric activations, which TensorRT demands and ONNX Runtime runs too, but on x86
            often more slowly than FP32; "onnxruntime" for unsigned ones, which its CPU kernels want and TensorRT refuses.
        progress: called after each array of calibration images.

    Returns:
        The path.

    Raises:
        EngineError: if the file is missing, malformed, quantised already or takes images of any size; if a name in ``keep`` or
            the method is unknown; if no layer is left to quantise; if calibration images are missing or wrong; if the file
            cannot be written.
    """
    model, ranges = calibrated(onnx_path, calibration, keep, method, runtime, progress)
    return write_int8(model, out_path, ranges, keep, runtime)


def float_weights(int8_path: Union[str, Path], out_path: Union[str, Path]) -> Path:
    """Write an INT8 file with its weights in FP32 behind Q/DQ, as TensorRT 8 takes them; the numbers computed are the same.

    Such a file is as large as the FP32 one. TensorRT 10, 11 and RTX take int8 weights directly.

    Raises:
        EngineError: if the file is missing, malformed, not from `to_int8`, or cannot be written.
    """
    model = load_checked(int8_path)
    if not any(node.op_type == "DequantizeLinear" for node in model.graph.node):
        raise EngineError(f"{int8_path} is not quantised: quantise it first, or build from it as it is")
    widen_weights(model)
    return save_model(model, out_path, {})


def quantizable_layers(onnx_path: Union[str, Path]) -> Tuple[str, ...]:
    """Names of the nodes of an FP32 file that `to_int8` would quantise, in the graph's order; raises EngineError as it does."""
    return tuple(layer.name for layer in quantizable(read_model(onnx_path)))


def calibrated(
    onnx_path: Union[str, Path],
    calibration: Batches,
    keep: Sequence[str],
    method: str,
    runtime: str,
    progress: Progress,
) -> Tuple[onnx.ModelProto, Ranges]:
    """The FP32 model, and the ranges of what would be quantised in it; arguments and errors as of `to_int8`."""
    check_runtime(runtime)
    model = read_model(onnx_path)
    names = [layer.name for layer in quantizable(model)]
    check_names(tuple(keep), names, onnx_path, "quantisable layer")
    if not set(names).difference(keep):
        why = "all are to stay in floating point" if names else "it has no Conv, Gemm or MatMul with constant weights"
        raise EngineError(f"{onnx_path} has no layer to quantise ({why}): use it at FP32 or FP16")
    return model, collect(model, activations(model), calibration, method, progress)


def write_int8(model: onnx.ModelProto, out_path: Union[str, Path], ranges: Ranges, keep: Sequence[str], runtime: str) -> Path:
    """Write what `calibrated` gave, with more layers kept in floating point if wanted; raises EngineError."""
    quantized = [layer.name for layer in quantizable(model) if layer.name not in keep]
    about: Dict[str, object] = {"runtime": runtime, "quantized": len(quantized), "keep": list(keep)}
    metadata = {"precision": "int8", "quantization": json.dumps(about), **ranges.to_metadata()}
    return save_model(insert(model, ranges.limits, keep, runtime), out_path, metadata)
