from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from gearnn.engine.errors import EngineError
from gearnn.engine.runtimes.base import Runtime


class Echo(Runtime):
    """Gives two pixels of each image; counts what reaches it."""

    name = "echo"

    def __init__(self, shape=(None, 3, 8, 6), dtype=np.float32):
        super().__init__(Path("net.onnx"), "1", 1, shape, np.dtype(dtype))
        self.calls = self.closed = 0

    @classmethod
    def load(cls, path, threads=None):
        return cls()

    def _run(self, images):
        self.calls += 1
        return images[:, 0, 0, :2]

    def close(self):
        self.closed += 1


def array(*shape, dtype=np.float32):
    return (np.random.default_rng(0).random(shape) * 255).astype(dtype)


@pytest.mark.parametrize("batch", [1, 5])
def test_passes_what_fits(batch):
    runtime, images = Echo(), array(batch, 3, 8, 6)
    np.testing.assert_array_equal(runtime.run(images), images[:, 0, 0, :2])


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (array(2, 3, 8, 6, dtype=np.uint8), r"a NumPy array of float32, got an array of uint8: .*/ 255"),
        (array(2, 3, 8, 6, dtype=np.float64), "got an array of float64"),
        (array(2, 3, 8, 6, dtype=">f4"), "got an array of >f4"),
        ([[1.0]], "got list"),
        (array(3, 8, 6), r"shape \(any, 3, 8, 6\), got \(3, 8, 6\): .*one image as images\[None\]"),
        (array(2, 1, 8, 6), r"got \(2, 1, 8, 6\): convert the images to have 3 channels"),
        (array(2, 8, 6, 3), r"got \(2, 8, 6, 3\): move the channels with images.transpose\(0, 3, 1, 2\)"),
        (array(2, 3, 6, 8), r"got \(2, 3, 6, 8\): resize"),
        (array(0, 3, 8, 6), r"got \(0, 3, 8, 6\): give at least one per call"),
    ],
)
def test_refuses_the_rest_in_one_sentence(images, message):
    runtime = Echo()
    with pytest.raises(EngineError, match="^net.onnx takes .*" + message) as caught:
        runtime.run(images)
    assert "\n" not in str(caught.value)
    assert runtime.calls == 0


def test_open_sizes_take_any_and_fixed_ones_do_not():
    assert Echo((None, 3, None, None)).run(array(2, 3, 9, 5)).shape == (2, 2)
    with pytest.raises(EngineError, match="channels"):
        Echo((None, 3, None, None)).run(array(2, 4, 9, 5))
    assert Echo((4, 3, 8, 6)).run(array(4, 3, 8, 6)).shape == (4, 2)
    with pytest.raises(EngineError, match="give 4 per call"):
        Echo((4, 3, 8, 6)).run(array(3, 3, 8, 6))


def test_pixels_come_with_their_channels_last():
    runtime = Echo((None, 8, 6, 3), np.uint8)
    assert (runtime.layout, runtime.image_shape) == ("NHWC", (3, 8, 6))
    pixels = array(2, 3, 8, 6, dtype=np.uint8)
    np.testing.assert_array_equal(runtime.prepare(pixels)[1, 5, 4], pixels[1, :, 5, 4])
    assert runtime.run(runtime.prepare(pixels)).shape == (2, 2)
    with pytest.raises(EngineError, match="NumPy array of uint8, got an array of float32: give the pixels as they are"):
        runtime.run(array(2, 8, 6, 3))
    with pytest.raises(EngineError, match=r"move the channels with images.transpose\(0, 2, 3, 1\) to have 3 channels"):
        runtime.run(pixels)
    with pytest.raises(EngineError, match="resize"):
        runtime.run(array(2, 6, 8, 3, dtype=np.uint8))


def test_float_networks_take_pixels_over_255():
    runtime, pixels = Echo(), array(2, 3, 8, 6, dtype=np.uint8)
    prepared = runtime.prepare(pixels)
    assert prepared.dtype == np.float32
    np.testing.assert_allclose(prepared * 255, pixels, rtol=1e-6)


def test_with_closes_also_after_an_error():
    runtime = Echo()
    with pytest.raises(ValueError), runtime as entered:
        assert entered is runtime
        raise ValueError
    assert runtime.closed == 1
