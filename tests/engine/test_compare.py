from __future__ import annotations

import numpy as np
import pytest
import torch

from gearnn.engine.compare import Comparison, compare
from gearnn.engine.errors import EngineError
from gearnn.engine.runtimes import load_runtime


def linear(batch):
    """Some logits: (B, 4), different for each image."""
    return batch.reshape(len(batch), -1)[:, :4] * 10


def test_measures_the_difference(images):
    def candidate(batch):
        logits = linear(batch).copy()
        logits[(batch == images[66]).all(axis=(1, 2, 3)), 2] += 0.5
        return logits

    comparison = compare(linear, candidate, images, batch_size=32)
    assert comparison.max_abs == pytest.approx(0.5, abs=1e-6)
    assert comparison.mean_abs == pytest.approx(0.5 / images.shape[0] / 4, rel=1e-5)
    assert (comparison.worst, comparison.n) == (66, 70)


def test_top1_counts_images_not_batches(images):
    flipped = compare(linear, lambda batch: np.where(np.arange(len(batch))[:, None] == 0, -linear(batch), linear(batch)), images)
    assert flipped.top1_agreement == pytest.approx(68 / 70)  # the first of each of the two batches


def test_engine_agrees_with_torch(small_net, onnx_file, images):
    def reference(batch):
        with torch.no_grad():
            return small_net(torch.from_numpy(batch)).numpy()

    with load_runtime(onnx_file, threads=1) as runtime:
        comparison = compare(reference, runtime.run, images)
        comparison.check()
        assert 0 <= comparison.max_abs < 1e-5
        with torch.no_grad():
            small_net.stem[1].running_mean[3] += 0.05
        with pytest.raises(EngineError, match="disagree"):
            compare(reference, runtime.run, images).check()


def test_check_says_what_where_and_how_much():
    with pytest.raises(EngineError, match=r"up to 0.25 \(allowed 0.0001, mean 0.01\), worst on image 3 of 20, and 95.00% of the"):
        Comparison(max_abs=0.25, mean_abs=0.01, top1_agreement=0.95, n=20, worst=3).check()
    Comparison(max_abs=0.25, mean_abs=0.01, top1_agreement=0.95, n=20, worst=3).check(atol=0.3, top1=0.9)


def test_check_holds_the_classes_too():
    close = Comparison(max_abs=1e-6, mean_abs=1e-7, top1_agreement=0.99, n=100, worst=41)
    with pytest.raises(EngineError, match=r"99.00% of the classes agree on 100 images .* \(image 41\)"):
        close.check()


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_numbers_that_are_not_finite_never_pass(images, value):
    def broken(batch):
        logits = linear(batch).copy()
        logits[(batch == images[5]).all(axis=(1, 2, 3))] = value
        return logits

    for reference, candidate in ((linear, broken), (broken, linear), (broken, broken)):
        comparison = compare(reference, candidate, images)
        assert comparison.worst == 5
        with pytest.raises(EngineError, match="worst on image 5 of 70"):
            comparison.check()


@pytest.mark.parametrize(
    "inputs", [np.zeros((4, 3, 8, 8), np.float32), np.full((4, 3, 8, 8), 0.5, np.float32), np.empty((0, 3, 8, 8))]
)
def test_refuses_inputs_that_show_nothing(inputs):
    with pytest.raises(EngineError, match="needs real images"):
        compare(linear, linear, inputs)


@pytest.mark.parametrize("candidate", [lambda batch: linear(batch)[:, :3], lambda batch: linear(batch)[:1]])
def test_refuses_outputs_of_other_shapes(images, candidate):
    with pytest.raises(EngineError, match=r"one shape \(64, classes\) for images 0 to 63"):
        compare(linear, candidate, images)


def test_large_logits_may_differ_in_proportion():
    """float32 has seven digits: right executions of logits around 150 differ by 2e-4."""
    wanted = np.random.default_rng(0).normal(0, 50, (40, 5)).astype(np.float32)
    close, far = (compare(lambda x: x, lambda x, scale=scale: x * scale, wanted) for scale in (1 + 1e-6, 1 + 3e-5))
    assert close.largest == pytest.approx(np.abs(wanted).max())
    assert 1e-4 < close.max_abs < close.allowed() < far.max_abs
    close.check()
    with pytest.raises(EngineError, match="logits differ by up to"):
        far.check()
    assert Comparison(0.0, 0.0, 1.0, 1, 0, largest=3.0).allowed() == 1e-4
