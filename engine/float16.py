"""FP16 networks: weights and computation in 16-bit floating point, input and output as before."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, List, Optional, Sequence, Set, Tuple, Union

import numpy as np

from gearnn.engine.calibration import Batches, Progress, collect, no_progress
from gearnn.engine.onnx_model import check_names, float_tensors, import_onnx, read_model, save_model

if TYPE_CHECKING:
    import onnx

_LARGEST = float(np.finfo(np.float16).max)  # 65504
_HEADROOM = 4.0  # unseen images may give larger activations than those looked at
_SMALLEST = 2.0**-24
# As ONNX Runtime's own conversion has it (onnxruntime.transformers.float16): no FP16 kernels, or types set by attributes.
_FP32_ONLY = (
    *("ConstantOfShape", "CumSum", "EyeLike", "Max", "Min", "NonMaxSuppression", "RandomNormal", "RandomNormalLike"),
    *("RandomUniform", "RandomUniformLike", "Range", "RoiAlign", "TopK", "Upsample"),
)
_FP32_INPUTS = {"Resize": (1, 2)}  # region and scales


def to_fp16(
    onnx_path: Union[str, Path],
    out_path: Union[str, Path],
    keep: Sequence[str] = (),
    *,
    calibration: Optional[Batches] = None,
    progress: Progress = no_progress,
) -> Path:
    """Write an FP16 version of an FP32 network: same input, output (both with their types), batch and metadata.

    Every node computes in FP16 but those in ``keep``, those whose weights reach 65504, FP16's largest number, those whose
    activations come within a factor of 4 of it where images are given, and operators that have no FP16 version. A strongly
    typed TensorRT network takes its types from this file. ONNX Runtime's CPU kernels are mostly FP32: there the file is not
    faster, and weights are rounded but hardly any activations, so that accuracy measured there does not show what a GPU would
    make of activations that are too large; give ``calibration`` for those.

    The metadata properties "precision" ("fp16") and "fp16" are set: JSON with "keep" (nodes left in FP32), "overflow" (those of
    them whose weights are too large), "underflow" (node → how many of its weights lie below 2⁻²⁴, FP16's smallest number; they
    become that number).

    Args:
        onnx_path: FP32 file, opset 13 or more, one image input of fixed size; its batch may be open.
        out_path: written whole or not at all.
        keep: names of nodes that stay in FP32.
        calibration: images on which activations are looked at, as in `to_int8`; None looks at the weights only.
        progress: called after each array of images.

    Returns:
        The path. A RuntimeWarning names nodes that were left in FP32 for their weights or activations.

    Raises:
        EngineError: if the file is missing, malformed, not FP32 or takes images of any size; if a name in ``keep`` is unknown; if
            the images are wrong; if the file cannot be written.
    """
    model = read_model(onnx_path)
    check_names(tuple(keep), [node.name for node in model.graph.node], onnx_path, "node")
    overflow, underflow = _weights_out_of_range(model)
    large = _large_activations(model, calibration, progress) if calibration is not None else []
    left = [node.name for node in model.graph.node if node.name in {*keep, *overflow, *large}]
    unsafe = sorted({*overflow, *large} - set(keep))
    if unsafe:
        warnings.warn(f"numbers too large for FP16 in {', '.join(unsafe)}: left in FP32", RuntimeWarning, stacklevel=2)
    about = {"keep": left, "overflow": overflow, "underflow": underflow}
    _convert(model, left)
    return save_model(model, out_path, {"precision": "fp16", "fp16": json.dumps(about)})


def _convert(model: onnx.ModelProto, keep: Sequence[str]) -> None:
    """Change types in place; numbers are cast only where an FP32 node and an FP16 node meet, or at the input and the output.

    Neighbours that both stay in FP32 so hand over numbers that FP16 could not hold.
    """
    onnx = import_onnx()
    graph, make = model.graph, onnx.helper.make_node
    single, half = onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16
    weights = {entry.name: entry for entry in graph.initializer if entry.data_type == single}
    floats = {
        entry.name for entry in [*graph.input, *graph.value_info, *graph.output] if entry.type.tensor_type.elem_type == single
    }
    outputs = {entry.name for entry in graph.output}
    halves: Set[str] = set()
    versions: Dict[Tuple[str, int], str] = {}
    nodes: List[Any] = []

    def version(name: str, wanted: int) -> str:
        """The tensor in the wanted type, cast or converted once."""
        if name not in weights and (name in halves) == (wanted == half):
            return name
        if (name, wanted) not in versions:
            versions[name, wanted] = f"{name}.{'fp16' if wanted == half else 'fp32'}"
            if name in weights:
                values = _halves(onnx.numpy_helper.to_array(weights[name]))
                graph.initializer.append(onnx.numpy_helper.from_array(values, versions[name, wanted]))
            else:
                cast = versions[name, wanted]
                nodes.append(make("Cast", [name], [cast], name=f"Cast_{cast}", to=wanted))
        return versions[name, wanted]

    for node in graph.node:
        wanted = single if node.name in keep or node.op_type in _FP32_ONLY else half
        for place, name in enumerate(node.input):
            needed = single if place in _FP32_INPUTS.get(node.op_type, ()) else wanted
            if (name in weights and needed == half) or (name in floats and name not in weights):
                node.input[place] = version(name, needed)
        given = [name for name in node.output if name in floats]
        if wanted == half:
            for attribute in node.attribute:
                if node.op_type == "Cast" and attribute.name == "to" and attribute.i == single:
                    attribute.i = half
            halves.update(given)
        final = [name for name in given if name in outputs and wanted == half]
        nodes.append(node)
        for name in final:
            inner = f"{name}.fp16"
            node.output[list(node.output).index(name)] = inner
            nodes.append(make("Cast", [inner], [name], name=f"Cast_{name}", to=single))
            halves.discard(name)
            halves.add(inner)
    ordered = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(ordered)
    used = {name for node in graph.node for name in node.input}
    for entry in list(graph.initializer):
        if entry.name not in used:
            graph.initializer.remove(entry)


def _halves(values: np.ndarray) -> np.ndarray:
    """float32 as float16, none of them infinite, and 0 only where it was."""
    small = (values != 0) & (np.abs(values) < _SMALLEST)
    rounded: np.ndarray = np.where(small, np.copysign(_SMALLEST, values), np.clip(values, -_LARGEST, _LARGEST)).astype(np.float16)
    return rounded


def _weights_out_of_range(model: onnx.ModelProto) -> Tuple[List[str], Dict[str, int]]:
    """Nodes with weights that FP16 cannot hold, and of the others how many weights are too small for it."""
    onnx = import_onnx()
    floats = {entry.name: entry for entry in model.graph.initializer if entry.data_type == onnx.TensorProto.FLOAT}
    overflow, underflow = [], {}
    for node in model.graph.node:
        sizes = [np.abs(onnx.numpy_helper.to_array(floats[name])) for name in node.input if name in floats]
        if any((size >= _LARGEST).any() for size in sizes):
            overflow.append(node.name)
            continue
        lost = sum(int(((size > 0) & (size < _SMALLEST)).sum()) for size in sizes)
        if lost:
            underflow[node.name] = lost
    return overflow, underflow


def _large_activations(model: onnx.ModelProto, calibration: Batches, progress: Progress) -> List[str]:
    """Nodes that read or give numbers near FP16's limit."""
    limits = collect(model, float_tensors(model), calibration, "minmax", progress).limits
    large = {tensor for tensor, (low, high) in limits.items() if max(-low, high) * _HEADROOM >= _LARGEST}
    return [node.name for node in model.graph.node if large.intersection([*node.input, *node.output])]
