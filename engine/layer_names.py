"""From the names that runtimes give their layers back to the ONNX nodes that they were made of.

ONNX Runtime names a fused layer by its last node, by the tensor that it writes, or by its convolution, with marks of its own
around it. TensorRT joins the names: "A + B", "A || B", "PWN(PWN(A), B)", "{ForeignNode[A...B]}"; what it adds by itself it calls
"(Unnamed Layer* 3) [Shuffle]", "Reformatting CopyNode for Input Tensor 0 to A + B" or "__myl_...".
"""

from __future__ import annotations

import re
from typing import Dict, List, Mapping, Optional, Tuple

from gearnn.engine.onnx_file import OnnxFile

_BEFORE = re.compile(r"^InsertedPrecisionFreeCast_")
_AFTER = re.compile(r"(_nchwc|_nhwc|_token_\d+|_quant|_output_\d+)+$")
_HELPER = re.compile(r"(_(bias|weight)_dq|_dq|_q|/duplicated)$")
_FOLLOWERS = ("Add", "Relu", "Clip", "BatchNormalization", "HardSigmoid", "LeakyRelu", "Sigmoid", "Tanh")
_LAYERS = ("Conv", "Gemm")
_TRT_OWN = re.compile(r"\(Unnamed Layer\* \d+\)( \[[^\]]*\])?|\b(PWN|ForeignNode)(?=[(\[])")
_TRT_BETWEEN = re.compile(r"[\s(){}\[\],+|]+")
_TRT_AFTER = re.compile(r"(_myl\d+_\d+|_clone_\d+)$")
_TRT_MADE = ("Reformatting", "COPY:", "__myl", "[HostToDeviceCopy", "[DeviceToHostCopy", "[trainStation", "Input Tensor")


def ort_nodes(kinds: Mapping[str, str], onnx: OnnxFile) -> Dict[str, Tuple[Tuple[str, ...], Optional[str]]]:
    """Of each layer of ONNX Runtime: the ONNX nodes that ran in it, in the file's order, and a node that it serves.

    Activations and sums around a convolution that no other layer names ran with it. A layer that the runtime made up (to change
    a layout, to dequantise a bias) has no nodes; if its name says for which node it was made, that is the one it serves.

    Args:
        kinds: layer's name → operator as the runtime calls it.
    """
    ops = dict(onnx.nodes)
    named: Dict[str, str] = {}
    owner: Dict[str, str] = {}
    serves: Dict[str, Optional[str]] = {}
    for layer in kinds:
        node = _node_of(layer, ops)
        helped = None if node else _node_of(_HELPER.sub("", layer), ops)
        if node and node not in owner:
            named[layer], owner[node] = node, layer
        serves[layer] = node or helped
    _add_conv_before(named, kinds, onnx, ops, owner)
    _add_followers(kinds, onnx, owner)
    nodes: Dict[str, List[str]] = {layer: [] for layer in kinds}
    for name, _ in onnx.nodes:
        if name in owner:
            nodes[owner[name]].append(name)
    return {layer: (tuple(nodes[layer]), serves[layer]) for layer in kinds}


def tensorrt_nodes(name: str, onnx: Optional[OnnxFile] = None) -> Tuple[str, ...]:
    """ONNX nodes of a layer of TensorRT, by its name; none of one that TensorRT made up.

    Args:
        onnx: the file that the engine was built from: only its nodes are named then, and all of those from A to B in
            "{ForeignNode[A...B]}". Without it, whatever looks like a node's name is taken for one.
    """
    if name.startswith(_TRT_MADE):
        return ()
    order = {node: place for place, (node, _) in enumerate(onnx.nodes)} if onnx else None
    found: List[str] = []
    for part in _TRT_BETWEEN.split(_TRT_OWN.sub(" ", name)):
        ends = [_known(end, order) for end in part.split("...")]
        nodes = [end for end in ends if end]
        if len(ends) == 2 and len(nodes) == 2 and onnx and order:
            first, last = sorted((order[nodes[0]], order[nodes[1]]))
            nodes = [node for node, _ in onnx.nodes[first : last + 1]]
        found += nodes
    return tuple(dict.fromkeys(found))


def _known(name: str, order: Optional[Mapping[str, int]]) -> Optional[str]:
    for candidate in (name, _TRT_AFTER.sub("", name)):
        if candidate and (order is None or candidate in order):
            return _TRT_AFTER.sub("", name) if order is None else candidate
    return None


def _node_of(layer: str, ops: Mapping[str, str]) -> Optional[str]:
    for candidate in (layer, _AFTER.sub("", layer), _AFTER.sub("", _BEFORE.sub("", layer))):
        if candidate in ops:
            return candidate
    return None


def _add_conv_before(
    named: Mapping[str, str], kinds: Mapping[str, str], onnx: OnnxFile, ops: Mapping[str, str], owner: Dict[str, str]
) -> None:
    """Of a fused convolution that is named by its end: what comes before it, back to the convolution itself."""
    places = {name: place for place, (name, _) in enumerate(onnx.nodes)}
    for layer, node in named.items():
        if kinds[layer].endswith("Conv") and ops[node] != "Conv":
            for name, op in reversed(onnx.nodes[: places[node]]):
                if name not in owner and op in ("Conv", *_FOLLOWERS):
                    owner[name] = layer
                    if op == "Conv":
                        break


def _add_followers(kinds: Mapping[str, str], onnx: OnnxFile, owner: Dict[str, str]) -> None:
    """A residual sum and its activation, done while the convolution or the linear layer before them writes."""
    before: Optional[str] = None
    for name, op in onnx.nodes:
        if name in owner:
            before = owner[name]
        elif op in _LAYERS:
            before = None  # whatever ran it is not known, and what follows may have run there
        elif op in _FOLLOWERS and before is not None and kinds[before].endswith(_LAYERS):
            owner[name] = before
