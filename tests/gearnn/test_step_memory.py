"""Measured peaks of training steps."""

from __future__ import annotations

import torch
from torch import nn

from gearnn.step_memory import measured_memory


def test_what_a_step_must_hold_is_counted_and_the_network_is_left_alone() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU(), nn.Flatten(), nn.Linear(64 * 256, 10)
    ).eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    example = torch.zeros(1, 3, 16, 16)
    small, large = (measured_memory(model, example, batch) for batch in (16, 64))
    activations = (
        64 * 256 * 4
    )  # of one layer and image; the convolution's and BatchNorm's outputs are kept, and a gradient or two
    assert 3 * activations < (large - small) / 48 < 6 * activations
    parameters = sum(parameter.numel() for parameter in model.parameters())
    assert small > 3 * 4 * parameters  # weights, momentum, gradients
    assert not model.training and all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
