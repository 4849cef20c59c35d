"""An ONNX file's bytes, once they are known to be what they should be, and before any native library parses them.

Networks of this tool are one file each. ONNX lets a tensor lie in another file, by a path that the file itself names: such
files are refused, whatever the path. Numbers of fields are those of onnx.proto.
"""

from __future__ import annotations

from pathlib import Path
from typing import Dict, Union

from gearnn.engine.errors import EngineError
from gearnn.engine.manifest import check_file, manifest_path, read_manifest
from gearnn.engine.onnx_file import fields

_DEEPEST = 32  # graphs within graphs
_EXTERNAL_DATA, _DATA_LOCATION = 13, 14
# Where tensors can be: for each kind of message, its fields that hold messages, and their kinds.
_WITHIN: Dict[str, Dict[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "function": {7: "node", 11: "attribute"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
}


def checked_onnx(path: Union[str, Path]) -> bytes:
    """The content of an ONNX file.

    Raises:
        EngineError: if it is missing or not a regular file, is not the one that a manifest beside it speaks of, is no ONNX file,
            or keeps tensors in other files.
    """
    path = Path(path)
    if not path.is_file():
        raise EngineError(f"there is no ONNX file {path}: check the path, or write one with gearnn export")
    if manifest_path(path).is_file():
        check_file(path, read_manifest(path))
    try:
        content = path.read_bytes()
        outside = refers_outside(content)
    except OSError as error:
        raise EngineError(f"cannot read {path} ({error.strerror or error}): check its permissions") from error
    except ValueError as error:
        raise EngineError(f"{path} is not a valid ONNX file ({error}): export it again") from error
    if outside:
        raise EngineError(f"{path} keeps weights in other files, which is not allowed: export it again, into one file")
    return content


def refers_outside(content: bytes) -> bool:
    """Whether a tensor anywhere in an ONNX file says that its data lie elsewhere; raises ValueError for what is no ONNX file."""
    graphs = 0
    messages = [(memoryview(content), "model", 0)]
    while messages:
        message, kind, depth = messages.pop()
        if depth > _DEEPEST * 3:
            raise ValueError("its graphs are nested too deep")
        for number, value in fields(message):
            if kind == "tensor":
                # A library may cut a number to 32 bits: only zero is surely the default.
                if number == _EXTERNAL_DATA or (number == _DATA_LOCATION and value != 0):
                    return True
            elif isinstance(value, memoryview) and number in _WITHIN[kind]:
                graphs += kind == "model" and number == 7
                messages.append((value, _WITHIN[kind][number], depth + 1))
    if not graphs:
        raise ValueError("there is no graph in it")
    return False
