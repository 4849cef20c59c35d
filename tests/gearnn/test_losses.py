import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from gearnn.errors import UserError
from gearnn.losses import consistency_loss, jensen_shannon, logits_of


def logits_and_labels(views=4, batch=6, classes=5, scale=2.0, seed=0):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(views, batch, classes, generator=generator) * scale
    return logits, torch.randint(classes, (batch,), generator=generator)


def softmax64(logits):
    z = np.exp(logits.numpy().astype(np.float64) - logits.numpy().max(-1, keepdims=True))
    return z / z.sum(-1, keepdims=True)


def test_by_hand():
    # Two views of one image, two classes: p = (3/4, 1/4) and (1/4, 3/4), so m = (1/2, 1/2).
    logits = torch.tensor([[[math.log(3.0), 0.0]], [[0.0, math.log(3.0)]]])
    divergence = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    assert float(jensen_shannon(logits)) == pytest.approx(divergence, rel=1e-6)
    loss = consistency_loss(logits, torch.tensor([0]), weight=12)
    assert float(loss) == pytest.approx(-math.log(0.75) + 12 * divergence, rel=1e-6)


@pytest.mark.parametrize(("views", "weight"), [(2, 1.0), (3, 12.0), (4, 0.5)])
def test_against_float64(views, weight):
    logits, labels = logits_and_labels(views)
    p = softmax64(logits)
    cross_entropy = -np.log(p[0, np.arange(6), labels.numpy()]).mean()
    mean = p.mean(0)
    divergence = np.mean([np.mean(np.sum(q * np.log(q / mean), -1)) for q in p])
    assert float(consistency_loss(logits, labels, weight)) == pytest.approx(cross_entropy + weight * divergence, rel=1e-5)


def test_one_view_is_plain_cross_entropy():
    logits, labels = logits_and_labels(1)
    torch.testing.assert_close(consistency_loss(logits, labels), F.cross_entropy(logits[0], labels))


def test_only_the_clean_view_meets_the_labels():
    logits, labels = logits_and_labels(3)
    first = consistency_loss(logits, labels, weight=0.0)
    torch.testing.assert_close(first, F.cross_entropy(logits[0], labels))
    swapped = consistency_loss(logits.flip(0), labels, weight=0.0)
    assert not torch.isclose(first, swapped)


@pytest.mark.parametrize("scale", [0.01, 1.0, 10.0, 1000.0])
def test_bounds(scale):
    for seed in range(5):
        logits, _ = logits_and_labels(4, 32, 10, scale, seed)
        assert -1e-6 <= float(jensen_shannon(logits)) <= math.log(4) + 1e-6


def test_zero_when_views_agree_and_log_j_when_they_exclude_each_other():
    logits, _ = logits_and_labels(1)
    assert float(jensen_shannon(logits.expand(4, -1, -1))) == pytest.approx(0, abs=1e-6)
    apart = torch.eye(4)[:, None, :] * 200
    assert float(jensen_shannon(apart)) == pytest.approx(math.log(4), rel=1e-5)


@pytest.mark.parametrize("scale", [1.0, 100.0, 1e4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_gradient_is_finite_and_pulls_views_together(scale, dtype):
    logits, labels = logits_and_labels(4, scale=scale)
    logits = logits.to(dtype).requires_grad_()
    loss = consistency_loss(logits, labels)
    loss.backward()
    assert loss.dtype == torch.float32 and torch.isfinite(loss)
    assert torch.isfinite(logits.grad).all() and logits.grad.abs().sum() > 0
    if scale == 1.0 and dtype == torch.float32:
        with torch.no_grad():
            assert consistency_loss(logits - 0.01 * logits.grad, labels) < loss


@pytest.mark.parametrize(("shape", "labels"), [((6, 5), 6), ((2, 6, 5), 5), ((0, 6, 5), 6)])
def test_refuses_shapes_that_do_not_belong_together(shape, labels):
    with pytest.raises(ValueError, match="views, batch, classes"):
        consistency_loss(torch.randn(shape), torch.zeros(labels, dtype=torch.long))


def test_logits_are_one_row_per_image():
    logits = torch.randn(6, 3)
    assert logits_of(logits, 6) is logits
    with pytest.raises(UserError, match=r"a tensor of shape \(6, 3\) for 7 images.* returns that alone, or else$"):
        logits_of(logits, 7, ", or else")
    with pytest.raises(UserError, match="returns a dict for 6 images.* returns that alone$"):
        logits_of({"logits": logits}, 6)
