from __future__ import annotations

import json
import stat
import warnings

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from gearnn.engine.errors import EngineError
from gearnn.engine.export import export_onnx
from gearnn.engine.manifest import manifest_path, onnx_manifest, sha256_of, write_manifest
from gearnn.engine.runtimes import load_runtime

SHAPE = (3, 16, 16)


class Forward(nn.Module):
    """A module whose forward is the given function."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, images):
        return self.function(images)


@pytest.mark.parametrize("opset", [13, 15, 17])
def test_equals_torch(small_net, images, tmp_path, opset):
    path = export_onnx(small_net, SHAPE, tmp_path / "net.onnx", opset=opset)
    with load_runtime(path, threads=1) as runtime, torch.no_grad():
        for batch in (images[:1], images[:7]):
            wanted = small_net(torch.from_numpy(batch)).numpy()
            assert wanted.std() > 0.1
            np.testing.assert_allclose(runtime.run(batch), wanted, atol=1e-5)
    assert onnx.load(path).opset_import[0].version == opset


def test_names_axes_metadata_and_age(small_net, tmp_path):
    path = export_onnx(small_net, SHAPE, str(tmp_path / "made" / "net.onnx"), metadata={"classes": '["ä", "b"]', "size": "16"})
    model = onnx.load(path)
    (image,), (logits,) = model.graph.input, model.graph.output

    def sizes(value):
        return [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]

    assert (image.name, sizes(image)) == ("images", ["batch", 3, 16, 16])
    assert (logits.name, sizes(logits)) == ("logits", ["batch", 5])
    strings = {entry.key: entry.value for entry in model.metadata_props}
    assert {key: strings[key] for key in ("classes", "size", "precision")} == {
        "classes": '["ä", "b"]', "size": "16", "precision": "fp32",
    }  # fmt: skip
    assert json.loads(strings["input"]) == {"dtype": "float32", "layout": "NCHW", "range": [0, 1]}
    assert model.opset_import[0].version == 13
    assert model.ir_version <= 8  # what TensorRT 8.5 and ONNX Runtime 1.16 on a Jetson read
    assert "BatchNormalization" not in {node.op_type for node in model.graph.node}
    inferred = {value.name for value in model.graph.value_info}
    assert inferred >= {name for node in model.graph.node[:-1] for name in node.output}


def test_pixels_in_the_graph_give_the_same_bits(small_net, tmp_path):
    pixels = np.random.default_rng(3).integers(0, 256, (5, 3, 16, 16), dtype=np.uint8)
    floats = export_onnx(small_net, SHAPE, tmp_path / "floats.onnx")
    path = export_onnx(small_net, SHAPE, tmp_path / "pixels.onnx", pixels=True)
    with load_runtime(floats, threads=1) as one, load_runtime(path, threads=1) as other:
        assert (other.layout, other.input_dtype, other.input_shape) == ("NHWC", np.uint8, (None, 16, 16, 3))
        np.testing.assert_array_equal(other.run(other.prepare(pixels)), one.run(one.prepare(pixels)))
        assert json.loads(other.metadata["input"]) == {"dtype": "uint8", "layout": "NHWC", "range": [0, 255]}
    nodes = onnx.load(path).graph.node
    assert nodes[0].op_type == "Cast"
    assert {node.name for node in onnx.load(floats).graph.node} <= {node.name for node in nodes}
    assert not small_net._forward_pre_hooks


def test_a_fixed_batch(small_net, images, tmp_path):
    with load_runtime(export_onnx(small_net, SHAPE, tmp_path / "net.onnx", batch=4), threads=1) as runtime:
        assert runtime.input_shape == (4, *SHAPE)
        with torch.no_grad():
            np.testing.assert_allclose(runtime.run(images[:4]), small_net(torch.from_numpy(images[:4])).numpy(), atol=1e-5)
        with pytest.raises(EngineError, match="give 4 per call"):
            runtime.run(images[:3])
    with pytest.raises(EngineError, match="at least one image, not 0"):
        export_onnx(small_net, SHAPE, tmp_path / "none.onnx", batch=0)


def test_the_source_is_known_by_its_weights(small_net, tmp_path):
    def source(name):
        model = onnx.load(export_onnx(small_net, SHAPE, tmp_path / name))
        return next(entry.value for entry in model.metadata_props if entry.key == "source_sha256")

    first = source("a.onnx")
    assert source("b.onnx") == first
    with torch.no_grad():
        small_net.classifier.bias[2] += 1e-3
    assert source("c.onnx") != first


@pytest.mark.parametrize("opset", [12, 18, 0])
def test_refuses_other_opsets(small_net, tmp_path, opset):
    with pytest.raises(EngineError, match=f"opset {opset} is not supported: choose one from 13 to 17"):
        export_onnx(small_net, SHAPE, tmp_path / "net.onnx", opset=opset)
    assert not list(tmp_path.iterdir())


def test_restores_the_mode_of_every_part(small_net, tmp_path):
    small_net.train()
    small_net.stem.eval()  # a frozen part
    before = {name: module.training for name, module in small_net.named_modules()}
    statistics = small_net.depthwise[1].running_mean.clone()
    export_onnx(small_net, SHAPE, tmp_path / "net.onnx")
    assert {name: module.training for name, module in small_net.named_modules()} == before
    assert torch.equal(small_net.depthwise[1].running_mean, statistics)


def test_restores_the_mode_after_a_failure(small_net, tmp_path):
    small_net.train()
    with pytest.raises(EngineError):
        export_onnx(small_net, (4, 16, 16), tmp_path / "net.onnx")
    assert small_net.training


def test_is_silent(small_net, tmp_path, capfd):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        export_onnx(small_net, SHAPE, tmp_path / "net.onnx")
    assert capfd.readouterr() == ("", "")


def test_passes_dynamo_only_where_it_exists(small_net, tmp_path, monkeypatch):
    real, seen = torch.onnx.export, {}

    def old(model, args, f, opset_version, input_names, output_names, dynamic_axes, do_constant_folding, training):
        seen["old"] = opset_version
        raise RuntimeError("the old one was called")

    def new(model, args, f, dynamo=True, **options):
        seen["new"] = dynamo
        return real(model, args, f, **({"dynamo": False} if "dynamo" in real.__code__.co_varnames else {}), **options)

    monkeypatch.setattr(torch.onnx, "export", old)
    with pytest.raises(EngineError, match="the old one was called"):
        export_onnx(small_net, SHAPE, tmp_path / "net.onnx")
    monkeypatch.setattr(torch.onnx, "export", new)
    export_onnx(small_net, SHAPE, tmp_path / "net.onnx")
    assert seen == {"old": 13, "new": False}


def test_refuses_a_network_that_does_not_fit_the_images(small_net, tmp_path):
    with pytest.raises(EngineError, match=r"SmallNet does not run on float32 images of shape \(2, 4, 16, 16\)"):
        export_onnx(small_net, (4, 16, 16), tmp_path / "net.onnx")


@pytest.mark.parametrize(
    ("function", "got"),
    [
        (lambda x: x, r"\(2, 3, 16, 16\)"),
        (lambda x: (x.flatten(1), x), "tuple"),
        (lambda x: x.flatten(1).argmax(1, keepdim=True), "torch.int64"),
        (lambda x: x.reshape(1, -1), r"\(1, 1536\)"),
    ],
)
def test_refuses_outputs_that_are_not_logits(function, got, tmp_path):
    with pytest.raises(EngineError, match=f"Forward must return one float32 tensor .* but returned .*{got}"):
        export_onnx(Forward(function), SHAPE, tmp_path / "net.onnx")


def test_refuses_a_frozen_batch_size(tmp_path):
    frozen = Forward(lambda x: x.reshape(int(x.shape[0]), -1))
    with pytest.raises(EngineError, match="works for batches of 2 only"):
        export_onnx(frozen, SHAPE, tmp_path / "net.onnx")
    assert not list(tmp_path.iterdir())


def test_names_the_operator_that_cannot_be_exported(tmp_path):
    with pytest.raises(EngineError, match="cannot be written as ONNX opset 13 .*grid_sampl") as caught:
        grid = torch.rand(2, 16, 16, 2)
        export_onnx(
            Forward(lambda x: nn.functional.grid_sample(x, grid, align_corners=False).flatten(1)), SHAPE, tmp_path / "n.onnx"
        )
    assert "\n" not in str(caught.value)


def test_keeps_the_old_file_when_it_fails(small_net, onnx_file):
    before = onnx_file.read_bytes()
    with pytest.raises(EngineError):
        export_onnx(small_net, (4, 16, 16), onnx_file)
    assert onnx_file.read_bytes() == before
    assert [path.name for path in onnx_file.parent.iterdir()] == ["small.onnx"]


def test_a_manifest_of_the_file_before_goes(small_net, images, tmp_path):
    path = export_onnx(small_net, SHAPE, tmp_path / "model.onnx")
    write_manifest(path, onnx_manifest(path, "fp32", "gearnn export", onnx_sha256=sha256_of(path)))
    with torch.no_grad():
        next(small_net.parameters()).mul_(0.5)
    export_onnx(small_net, SHAPE, path)
    assert not manifest_path(path).exists()
    with load_runtime(path) as runtime:  # which refuses a file that its manifest does not speak of
        assert np.isfinite(runtime.run(images)).all()


def test_same_network_same_bytes(small_net, tmp_path):
    first = export_onnx(small_net, SHAPE, tmp_path / "a.onnx").read_bytes()
    torch.manual_seed(99)
    assert export_onnx(small_net, SHAPE, tmp_path / "b.onnx").read_bytes() == first
    assert stat.S_IMODE((tmp_path / "b.onnx").stat().st_mode) == 0o644
