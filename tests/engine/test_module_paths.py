from __future__ import annotations

import onnx
import pytest

from gearnn.engine.module_paths import module_path


@pytest.mark.parametrize(
    ("node", "path"),
    [
        ("/features/features.0/Conv", "features.0"),
        ("/1/blocks/blocks.2/blocks.2.0/act/Relu", "1.blocks.2.0.act"),
        ("/Add", ""),
        ("/classifier/Gemm", "classifier"),
        ("Conv_12", ""),
        ("", ""),
    ],
)
def test_scopes_become_dotted_paths(node, path):
    assert module_path(node) == path


def test_every_node_of_a_real_export_belongs_to_a_module(small_net, onnx_file):
    paths = {module_path(node.name) for node in onnx.load(onnx_file).graph.node}
    assert paths <= {name for name, _ in small_net.named_modules()}
    assert {"stem.0", "depthwise.0", "pointwise.0", "classifier"} <= paths
