"""The few facts of an ONNX file that are needed where the onnx package is not: its metadata, its nodes' names and kinds.

An ONNX file is one protocol-buffers message. Field numbers are those of onnx.proto (ModelProto: graph 7, metadata_props 14;
GraphProto: node 1; NodeProto: name 3, op_type 4; StringStringEntryProto: key 1, value 2). Weights are skipped, not read.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Dict, Iterator, Tuple, Union

_GRAPH, _METADATA, _NODE, _NAME, _KIND, _KEY, _VALUE = 7, 14, 1, 3, 4, 1, 2
_VARINT, _EIGHT_BYTES, _LENGTH, _FOUR_BYTES = 0, 1, 2, 5


@dataclass(frozen=True)
class OnnxFile:
    """Attributes: metadata: the metadata properties; nodes: (name, operator) of the graph's nodes, in the file's order."""

    metadata: Dict[str, str]
    nodes: Tuple[Tuple[str, str], ...]

    @property
    def quantized(self) -> bool:
        """Whether there are quantise and dequantise nodes."""
        return any(kind in ("QuantizeLinear", "DequantizeLinear") for _, kind in self.nodes)


def read_onnx(content: bytes) -> OnnxFile:
    """Facts of an ONNX file.

    Raises:
        ValueError: if it is not a protocol-buffers message with a graph in it.
    """
    metadata, nodes, graphs = {}, [], 0
    for number, value in fields(memoryview(content)):
        if number == _METADATA and isinstance(value, memoryview):
            entry = _strings(value)
            metadata[entry.get(_KEY, "")] = entry.get(_VALUE, "")
        elif number == _GRAPH and isinstance(value, memoryview):
            graphs += 1
            for part, node in fields(value):
                if part == _NODE and isinstance(node, memoryview):
                    names = _strings(node, (_NAME, _KIND))
                    nodes.append((names.get(_NAME, ""), names.get(_KIND, "")))
    if not graphs:
        raise ValueError("there is no graph in it")
    return OnnxFile(metadata, tuple(nodes))


def _strings(message: memoryview, wanted: Tuple[int, ...] = (_KEY, _VALUE)) -> Dict[int, str]:
    return {
        number: bytes(value).decode("utf-8", errors="replace")
        for number, value in fields(message)
        if number in wanted and isinstance(value, memoryview)
    }


def fields(message: memoryview) -> Iterator[Tuple[int, Union[int, memoryview]]]:
    """Number and value of each field of a message: a view of the bytes, or the number of a varint; raises ValueError."""
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        number, kind = tag >> 3, tag & 7
        if number == 0 or tag >> 32:  # others may read only 32 bits of it, and so another number
            raise ValueError("it is not a protocol-buffers message")
        value: Union[int, memoryview]
        if kind == _VARINT:
            value, at = _varint(message, at)
        elif kind in (_LENGTH, _EIGHT_BYTES, _FOUR_BYTES):
            size, at = _varint(message, at) if kind == _LENGTH else (8 if kind == _EIGHT_BYTES else 4, at)
            if at + size > len(message):
                raise ValueError("it ends too early")
            value, at = message[at : at + size], at + size
        else:
            raise ValueError("it is not a protocol-buffers message")
        yield number, value


def _varint(message: memoryview, at: int) -> Tuple[int, int]:
    """A variable-length integer and where the next field begins."""
    number = 0
    for shift in range(0, 70, 7):
        if at >= len(message):
            raise ValueError("it ends too early")
        byte = message[at]
        at += 1
        number |= (byte & 127) << shift
        if byte < 128:
            return number, at
    raise ValueError("it is not a protocol-buffers message")
