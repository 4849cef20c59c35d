from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from gearnn.engine.errors import EngineError
from gearnn.engine.export import export_onnx
from gearnn.engine.parting import differences_of_files, differences_to_torch, parting


def changed(onnx_file, tmp_path, node_name, factor):
    """The same file with one layer's weight scaled."""
    model = onnx.load(onnx_file)
    node = next(node for node in model.graph.node if node.name.endswith(node_name))
    weight = next(entry for entry in model.graph.initializer if entry.name == node.input[1])
    weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight) * np.float32(factor), weight.name))
    path = tmp_path / "changed.onnx"
    onnx.save(model, str(path))
    return path, node.name


def test_equal_files_do_not_part(onnx_file, images):
    layers = differences_of_files(onnx_file, onnx_file, (images[:4], images[:4]))
    assert len(layers) > 6
    assert all(layer.max_abs == 0 for layer in layers)
    assert parting(layers, 1e-4) is None


def test_finds_the_layer_that_was_changed(onnx_file, images, tmp_path):
    path, name = changed(onnx_file, tmp_path, "depthwise.0/Conv", 1.01)
    layers = differences_of_files(onnx_file, path, (images[:4], images[:4]))
    place = parting(layers, 1e-4)
    assert place is not None
    assert (layers[place].node, layers[place].op, layers[place].module) == (name, "Conv", "depthwise.0")
    assert layers[place].relative == pytest.approx(0.01, rel=0.5)
    assert all(layer.relative == 0 for layer in layers[:place])


def test_torch_against_its_file_with_batch_norms_folded_in(small_net, onnx_file, images, tmp_path):
    layers = differences_to_torch(small_net, onnx_file, (images[:4], images[:4]))
    assert {"stem.0", "depthwise.0", "pointwise.0", "classifier"} <= {layer.module for layer in layers}
    assert parting(layers, 1e-5) is None
    path, _ = changed(onnx_file, tmp_path, "pointwise.0/Conv", 1.05)
    layers = differences_to_torch(small_net, path, (images[:4], images[:4]))
    place = parting(layers, 1e-4)
    assert layers[place].module == "pointwise.0"
    assert not any(module._forward_hooks for module in small_net.modules())


def test_pixels_against_floats(small_net, onnx_file, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 3), dtype=np.uint8)
    floats = np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)).astype(np.float32) / 255
    other = export_onnx(small_net, (3, 16, 16), tmp_path / "pixels.onnx", pixels=True)
    assert parting(differences_of_files(onnx_file, other, (floats, pixels)), 1e-6) is None
    assert parting(differences_to_torch(small_net, other, (floats, pixels)), 1e-5) is None


def test_nan_parts(onnx_file, images, tmp_path):
    path, _ = changed(onnx_file, tmp_path, "classifier/Gemm", float("nan"))
    layers = differences_of_files(onnx_file, path, (images[:2], images[:2]))
    assert layers[parting(layers, 1e9)].module == "classifier"


def test_files_that_cannot_be_compared(onnx_file, images, tmp_path):
    model = onnx.load(onnx_file)
    for node in model.graph.node:
        for names in (node.input, node.output):
            for place, name in enumerate(names):
                if name.startswith("/"):
                    names[place] = name.replace("/", "_")
        node.name = "n" + node.name.replace("/", "_")
    model.graph.output[0].name = "y"
    model.graph.node[-1].output[0] = "y"
    onnx.save(model, str(tmp_path / "renamed.onnx"))
    with pytest.raises(EngineError, match="name no tensor alike"):
        differences_of_files(onnx_file, tmp_path / "renamed.onnx", (images[:2], images[:2]))
    with pytest.raises(EngineError, match="do not carry the names"):
        differences_to_torch(torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3)), tmp_path / "renamed.onnx", (images[:2], images[:2]))
    (tmp_path / "torn.onnx").write_bytes(onnx_file.read_bytes()[:300])
    with pytest.raises(EngineError, match="not a valid ONNX file|not a readable ONNX file|does not run layer by layer"):
        differences_of_files(onnx_file, tmp_path / "torn.onnx", (images[:2], images[:2]))
