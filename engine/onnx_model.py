"""ONNX files as models that can be changed: read with what may be wrong said in a sentence, checked, and written whole."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, List, Mapping, Tuple, Union

from gearnn.engine.checked_onnx import checked_onnx
from gearnn.engine.errors import EngineError, reason
from gearnn.engine.files import write_bytes

if TYPE_CHECKING:
    import onnx

MIN_OPSET = 13  # the first with one scale per channel
_QDQ = ("QuantizeLinear", "DequantizeLinear")


def import_onnx() -> Any:
    """The onnx package, which only changing networks needs.

    Raises:
        EngineError: if it is not installed.
    """
    try:
        import onnx
        import onnx.checker
        import onnx.numpy_helper
        import onnx.shape_inference
    except ImportError as error:
        raise EngineError(f"changing a network's precision needs the onnx package ({reason(error)}): pip install onnx") from error
    return onnx


def load_checked(path: Union[str, Path]) -> onnx.ModelProto:
    """A valid ONNX file as it is, with shapes inferred.

    Raises:
        EngineError: if it is missing or malformed.
    """
    onnx = import_onnx()
    path = Path(path)
    content = checked_onnx(path)
    try:
        model = onnx.load_model_from_string(content)
        onnx.checker.check_model(model)
        return onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True)
    except Exception as error:
        raise EngineError(f"{path} is not a valid ONNX file ({reason(error)}): export it again") from error


def read_model(path: Union[str, Path]) -> onnx.ModelProto:
    """An FP32 image network, with every node named, constants as initialisers, and shapes inferred.

    Raises:
        EngineError: if the file is missing or malformed, its opset is below 13, it is quantised or in FP16 already, or it does
            not take one batch of images of one size and give one output.
    """
    path = Path(path)
    model = load_checked(path)
    opset = next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 0)
    if opset < MIN_OPSET:
        raise EngineError(f"{path} has ONNX opset {opset}, changing its precision needs {MIN_OPSET} or more: export it again")
    _check_precision(model, path)
    _check_ends(model, path)
    _name_nodes(model)
    _constants_to_initializers(model)
    return model


def save_model(model: onnx.ModelProto, path: Union[str, Path], metadata: Mapping[str, str]) -> Path:
    """Write a changed model, whole or not at all, once it passed the checker; ``metadata`` is added to what it holds.

    Inferred shapes are left out: they can be inferred again, and would be a tenth of a small INT8 network.

    Raises:
        EngineError: if the model is not valid, or cannot be written.
    """
    onnx = import_onnx()
    path = Path(path)
    properties = {entry.key: entry.value for entry in model.metadata_props}
    onnx.helper.set_model_props(model, {**properties, **metadata})
    del model.graph.value_info[:]
    try:
        onnx.checker.check_model(model)
        onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True)
        content = model.SerializeToString()
    except Exception as error:
        raise EngineError(f"{path} would not be a valid ONNX file ({reason(error)}): leave more nodes in FP32") from error
    write_bytes(path, content)
    return path


def float_tensors(model: onnx.ModelProto) -> Tuple[str, ...]:
    """Names of the FP32 tensors that nodes give, as far as shape inference knows their types."""
    onnx = import_onnx()
    known = {value.name: value.type.tensor_type.elem_type for value in [*model.graph.value_info, *model.graph.output]}
    names = [name for node in model.graph.node for name in node.output]
    return tuple(name for name in names if known.get(name) == onnx.TensorProto.FLOAT)


def check_names(names: Tuple[str, ...], known: List[str], path: Union[str, Path], what: str) -> None:
    """Do nothing if every name is known.

    Raises:
        EngineError: naming the first that is not, and those it may be meant for.
    """
    import difflib

    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.0) or ["none"]
            raise EngineError(f"{path} has no {what} {name!r} to keep in floating point: did you mean {near[0]!r}?")


def _check_precision(model: onnx.ModelProto, path: Path) -> None:
    onnx = import_onnx()
    half = (onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16)
    if any(node.op_type in _QDQ for node in model.graph.node):
        raise EngineError(f"{path} is quantised already: start from the FP32 file")
    if any(entry.data_type in half for entry in model.graph.initializer):
        raise EngineError(f"{path} holds 16-bit weights already: start from the FP32 file")


def _check_ends(model: onnx.ModelProto, path: Path) -> None:
    initializers = {entry.name for entry in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in initializers]
    if len(inputs) != 1 or len(model.graph.output) != 1:
        raise EngineError(
            f"{path} has {len(inputs)} inputs and {len(model.graph.output)} outputs: export one input and one output"
        )
    sizes = [size.dim_value if size.HasField("dim_value") else None for size in inputs[0].type.tensor_type.shape.dim]
    if len(sizes) != 4 or None in sizes[1:]:
        shape = ", ".join("any" if size is None else str(size) for size in sizes)
        raise EngineError(
            f"{path} takes input of shape ({shape}), but its precision can only be changed for images of one size: "
            "export it with fixed channels, height and width"
        )


def _name_nodes(model: onnx.ModelProto) -> None:
    """Unique names for nodes without one, as other exporters leave them."""
    taken = {node.name for node in model.graph.node}
    for index, node in enumerate(model.graph.node):
        if not node.name:
            node.name = f"{node.op_type}_{index}"
            while node.name in taken:
                node.name += "_"
            taken.add(node.name)


def _constants_to_initializers(model: onnx.ModelProto) -> None:
    """Constant nodes that hold a tensor, and Identity of an initialiser (which exporters write for weights that are equal)."""
    graph = model.graph
    initializers = {entry.name for entry in graph.initializer}
    outputs = {value.name for value in graph.output}
    aliases: Dict[str, str] = {}
    rest = []
    for node in graph.node:
        for index, name in enumerate(node.input):
            node.input[index] = aliases.get(name, name)
        if node.op_type == "Constant" and node.attribute[0].name == "value" and node.output[0] not in outputs:
            tensor = graph.initializer.add()
            tensor.CopyFrom(node.attribute[0].t)
            tensor.name = node.output[0]
            initializers.add(tensor.name)
        elif node.op_type == "Identity" and node.input[0] in initializers and node.output[0] not in outputs:
            aliases[node.output[0]] = node.input[0]
        else:
            rest.append(node)
    if len(rest) < len(graph.node):
        del graph.node[:]
        graph.node.extend(rest)
