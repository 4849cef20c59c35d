from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from gearnn.engine import layers
from gearnn.engine.errors import EngineError
from gearnn.engine.layers import LayerShape, layer_network, profile_layers
from gearnn.engine.runtimes import load_runtime

SHAPES = [
    LayerShape("conv", 16, 24, (3, 3), (2, 2), height=9, width=6),
    LayerShape("conv", 8, 8, (5, 3), groups=8, height=7, width=8),
    LayerShape("linear", 40, 10),
    LayerShape("linear", 12, 20, height=5),
    LayerShape("elementwise", 16, 16, width=30),
]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("copies", [1, 3])
def test_network_of_a_layer_runs_and_writes_what_the_layer_writes(shape, copies, tmp_path):
    path = tmp_path / "layer.onnx"
    path.write_bytes(layer_network(shape, copies))
    images = np.random.default_rng(0).random((1, 1, shape.height, shape.width), dtype=np.float32)
    with load_runtime(path, threads=1) as runtime:
        written = runtime.run(images)
    assert written.shape == shape.output_shape()
    assert np.isfinite(written).all()
    assert written.std() > 0


def test_copies_add_up_with_weights_of_their_own(tmp_path):
    shape = LayerShape("linear", 6, 4)
    content = layer_network(shape, 3)
    path = tmp_path / "layer.onnx"
    path.write_bytes(content)
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load_model_from_string(content).graph.initializer}
    with load_runtime(path, threads=1) as runtime:
        written = runtime.run(np.full((1, 1, 1, 1), 0.7, np.float32))
    features = np.maximum(0.7 * constants["first"].reshape(1, 6), 0)
    expected = features @ sum(constants[f"weight{copy}"] for copy in range(3)) + constants["bias0"]
    np.testing.assert_allclose(written, expected, rtol=1e-4, atol=1e-5)
    assert not np.array_equal(constants["weight0"], constants["weight1"])


def test_copies_of_a_convolution_add_up(tmp_path):
    shape = LayerShape("conv", 16, 32, (3, 3), height=6, width=6)
    images = np.random.default_rng(0).random((1, 1, 6, 6), dtype=np.float32)
    written = []
    for copies in (1, 2):
        path = tmp_path / f"{copies}.onnx"
        path.write_bytes(layer_network(shape, copies))
        with load_runtime(path, threads=1) as runtime:
            written.append(runtime.run(images))
    bias = next(
        numpy_helper.to_array(tensor)
        for tensor in onnx.load(str(tmp_path / "2.onnx")).graph.initializer
        if tensor.name == "bias0"
    )[:, None, None]
    # the second copy's weights are 0.95 of the first's, its bias is the same
    np.testing.assert_allclose(written[1], written[0] + 0.95 * (written[0] - bias) + bias, rtol=1e-3, atol=1e-4)


def test_larger_layers_take_longer():
    small = LayerShape("conv", 16, 16, (3, 3), height=8, width=8)
    large = LayerShape("conv", 64, 64, (3, 3), height=32, width=32)  # 256 times the work
    steps = []
    taken = profile_layers([small, large], threads=1, progress=lambda done, total: steps.append((done, total)))
    assert taken[1] > 4 * taken[0] > 0
    assert taken[1] < 1
    assert steps[0] == (0, 2)
    assert steps[-1] == (2, 2)


def test_all_layers_are_visited_before_any_is_again_and_the_lowest_of_each_network_counts(monkeypatch):
    shapes = [LayerShape("linear", 8, 8 * count) for count in range(1, 41)]  # more than are loaded together
    visits, paces = [], {1: 3.0, 2: 1.0, 3: 2.0}

    class Loaded:
        def __init__(self, path, *_):
            self.copies = sum(node.op_type == "Gemm" for node in onnx.load(str(path)).graph.node)
            self.width = onnx.load(str(path)).graph.output[0].type.tensor_type.shape.dim[1].dim_value

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

    def timed(networks, images, seconds):
        if seconds == 0:
            return np.array([1e-4 * networks[0].width / 8])
        one, many = networks
        visits.append((one.width, many.copies))
        pace = paces[sum(width == one.width for width, _ in visits)]
        return pace * 1e-6 * np.array([one.width, one.width * many.copies])

    monkeypatch.setattr(layers, "load_runtime", Loaded)
    monkeypatch.setattr(layers, "_time_in_turns", timed)
    assert profile_layers(shapes, passes=3) == pytest.approx([1e-6 * shape.outputs for shape in shapes])
    assert [width for width, _ in visits] == 3 * [shape.outputs for shape in shapes]
    assert visits[:40] == visits[40:80] == visits[80:]
    assert {copies for _, copies in visits} == {8, 4, 2}
    assert profile_layers([]) == []


def test_layers_are_loaded_in_batches_of_bounded_memory():
    heavy = LayerShape("conv", 512, 512, (3, 3), height=2, width=2)
    shapes = [LayerShape("conv", 8, 8 * count, (3, 3)) for count in range(1, 71)] + [heavy] * 5
    batches = list(layers._batches(shapes))
    assert [shape for batch in batches for shape in batch] == shapes
    assert max(map(len, batches)) == 32
    assert all(batch.count(heavy) <= 3 for batch in batches)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("attention", 8, 8), "op must be one of conv, linear, elementwise"),
        (("conv", 0, 8), "at least 1"),
        (("conv", 8, 12, (3, 3), (1, 1), 8), "8 groups do not divide"),
    ],
)
def test_impossible_shapes_are_refused(arguments, message):
    with pytest.raises(EngineError, match=message):
        LayerShape(*arguments)
