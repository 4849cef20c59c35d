"""Muon: orthogonal updates, sizes relative to the weights, and momentum that outlives the optimizer."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from gearnn.config import Optimizer
from gearnn.models import create_model, scaled_widths
from gearnn.muon import Muon, _rows, add_product, orthogonaliser, weight_matrices
from gearnn.training import make_optimizer, momentum_of


def _turned(matrix: torch.Tensor, square: torch.Tensor) -> torch.Tensor:
    target = torch.zeros_like(matrix)
    add_product(target, square, matrix)
    return target


@pytest.mark.parametrize("shape", [(16, 72), (72, 16), (24, 24)])
def test_singular_values_come_near_each_other_and_vectors_stay(shape: tuple) -> None:
    matrix = 1e-3 * torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = _turned(matrix, orthogonaliser(matrix, steps=6))
    assert float(found.norm()) == pytest.approx(1)
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    inner = left.T @ found @ right.T
    assert inner.diagonal().min() > 0.6 / 1.3 * inner.diagonal().max() > 0
    assert (inner - inner.diagonal().diag()).abs().max() < 1e-6


@pytest.mark.parametrize("shape", [(32, 288), (288, 32)])
def test_working_on_gram_matrices_loses_no_accuracy(shape: tuple) -> None:
    """Against the same iteration written out on the matrix itself, in float64, at singular values from 1e-6 to 1."""
    generator = torch.Generator().manual_seed(0)
    left, _, right = torch.linalg.svd(torch.randn(shape, generator=generator, dtype=torch.float64), full_matrices=False)
    matrix = left @ torch.diag(torch.logspace(-6, 0, 32, dtype=torch.float64)) @ right
    expected = matrix / matrix.norm()
    for _ in range(3):
        gram = expected @ expected.T
        expected = 3.4445 * expected + (-4.7750 * gram + 2.0315 * gram @ gram) @ expected
    expected /= expected.norm()
    found = _turned(matrix.float(), orthogonaliser(matrix.float()))
    assert float((found - expected).abs().max()) < 1e-6 < float(expected.abs().max()) / 1e4


def _stepped(optimizer: Muon, model: nn.Module, images: torch.Tensor) -> None:
    optimizer.zero_grad()
    model(images).square().mean().backward()
    optimizer.step()


def test_a_convolution_moves_by_its_share_and_the_rest_as_sgd_would() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(8 * 36, 4))
    twin = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(8 * 36, 4))
    twin.load_state_dict(model.state_dict())
    images = torch.randn(16, 3, 8, 8)
    before = model[0].weight.detach().clone()
    optimizer = Muon(model, 0.1, relative=0.05, momentum=0.9, weight_decay=5e-4)
    for group in optimizer.param_groups:
        group["lr"] = 0.04  # 0.4 of the full rate
    sgd = torch.optim.SGD(twin.parameters(), 0.04, momentum=0.9, weight_decay=5e-4, nesterov=True)
    for _ in range(3):  # momentum counts from the second step on
        twin[0].load_state_dict(model[0].state_dict())
        before = model[0].weight.detach().clone()
        _stepped(optimizer, model, images)
        moved = model[0].weight.detach() - before
        assert float(moved.norm() / before.norm()) == pytest.approx(0.4 * 0.05, rel=1e-4)
        sgd.zero_grad()
        twin(images).square().mean().backward()
        sgd.step()
        torch.testing.assert_close(model[3].weight, twin[3].weight)
        assert not torch.allclose(model[0].weight, twin[0].weight)


@pytest.mark.parametrize("shape", [(16, 8, 3, 3), (8, 32, 1, 1), (64, 3, 3, 3), (1, 8, 1, 1)])
def test_no_gradient_however_small_or_large_moves_weights_by_more_than_their_share(shape: tuple) -> None:
    generator = torch.Generator().manual_seed(0)
    for power in range(-40, 15, 2):
        model = nn.Sequential(nn.Conv2d(shape[1], shape[0], shape[2:], bias=False))
        weight = model[0].weight
        before = weight.detach().clone()
        weight.grad = 10.0**power * torch.randn(shape, generator=generator)
        Muon(model, 0.1, relative=0.05, momentum=0.9, weight_decay=0.0).step()
        share = float((weight.detach() - before).norm() / before.norm())
        assert share <= 0.05001, power
        if power >= -12:
            assert share == pytest.approx(0.05, rel=1e-3), power


def test_momentum_that_dies_away_ends_in_finite_weights() -> None:
    """Its square is no float32 long before it is none itself."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(8, 16, 3, bias=False))
    weight = model[0].weight
    optimizer = Muon(model, 0.1, relative=0.02, momentum=0.9, weight_decay=0.0)
    for step in range(1000):
        weight.grad = 1e-3 * torch.randn_like(weight) if step == 0 else torch.zeros_like(weight)
        before = weight.detach().clone()
        optimizer.step()
        assert float((weight.detach() - before).norm() / before.norm()) <= 0.02001, step


def test_how_weights_lie_in_memory_makes_no_difference() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 5, (1, 2), bias=False))
    twin = copy.deepcopy(model).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    images = torch.randn(4, 3, 8, 8)
    for network in (model, twin):
        optimizer = Muon(network, 0.1, relative=0.05, momentum=0.9, weight_decay=0.0)
        for _ in range(3):
            _stepped(optimizer, network, images)
    assert _rows(twin[0].weight).data_ptr() == twin[0].weight.data_ptr()  # nothing is copied
    for plain, last in zip(model.parameters(), twin.parameters()):
        torch.testing.assert_close(plain, last, atol=1e-6, rtol=1e-5)


def test_no_gradient_moves_nothing() -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 3))
    before = model[0].weight.detach().clone()
    optimizer = Muon(model, 0.1, relative=0.05, momentum=0.9, weight_decay=0.0)
    (0 * model(torch.randn(2, 3, 8, 8))).sum().backward()
    optimizer.step()
    assert torch.equal(model[0].weight, before)


def test_depthwise_filters_are_no_matrices() -> None:
    model = create_model("mobilenet_v1", 10, scaled_widths("mobilenet_v1", 1 / 16))
    assert all(weight.shape[1] > 1 for weight in weight_matrices(model))
    depthwise = [layer for layer in model.modules() if isinstance(layer, nn.Conv2d) and layer.groups > 1]
    assert len(depthwise) == 13


def test_momentum_is_handed_over_and_taken_up() -> None:
    torch.manual_seed(0)
    model = create_model("vgg19", 10, scaled_widths("vgg19", 1 / 16))
    images = torch.randn(8, 3, 32, 32)
    settings = Optimizer(kind="muon")
    optimizer = make_optimizer(model, settings, {})
    assert isinstance(optimizer, Muon)
    _stepped(optimizer, model, images)
    kept = momentum_of(model, optimizer)
    assert set(kept) == {name for name, _ in model.named_parameters()}
    again = momentum_of(model, make_optimizer(model, settings, kept))
    assert all(torch.equal(again[name], kept[name]) for name in kept)
