"""From the name of an ONNX node to the torch module it came from.

Torch's TorchScript exporter names nodes by scope, one part for each module on the way, and repeats a container's name in its
children: ``/features/features.0/Conv`` is module ``features.0``, ``/1/blocks/blocks.2/act/Relu`` is ``1.blocks.2.act``.
"""

from __future__ import annotations

from typing import List


def module_path(node: str) -> str:
    """The dotted path of the module that a node belongs to; "" for the network itself, or a name of another kind."""
    if not node.startswith("/"):
        return ""
    path: List[str] = []
    before = ""
    for part in node.split("/")[1:-1]:
        if before and part.startswith(f"{before}."):
            path.append(part[len(before) + 1 :])
        else:
            path.append(part)
        before = part
    return ".".join(path)
