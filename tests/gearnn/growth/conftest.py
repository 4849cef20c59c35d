"""Small networks with lived-in weights and BatchNorm statistics, and batches to grow them on."""

from __future__ import annotations

from typing import Callable, Iterator, List, Tuple

import pytest
import torch
from torch import Tensor, nn

from gearnn.models import create_model, scaled_widths


def _lived_in(model: nn.Module, seed: int) -> nn.Module:
    """BatchNorm scales, shifts and statistics away from their initial values, as after training."""
    generator = torch.Generator().manual_seed(seed)

    def uniform(tensor: Tensor, low: float, high: float) -> None:
        tensor.copy_(torch.rand(tensor.shape, generator=generator) * (high - low) + low)

    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                uniform(module.weight, 0.6, 1.2)
                uniform(module.bias, -0.2, 0.2)
                uniform(module.running_mean, -0.2, 0.2)
                uniform(module.running_var, 0.8, 1.2)
    return model.eval()


@pytest.fixture()
def small_network() -> Callable[[str], nn.Module]:
    """A 1/16-width network by name, in eval mode."""

    def make(name: str) -> nn.Module:
        torch.manual_seed(3)
        return _lived_in(create_model(name, 10, scaled_widths(name, 1 / 16)), seed=4)

    return make


@pytest.fixture()
def images() -> Tensor:
    """Normalised images (16, 3, 32, 32)."""
    return torch.randn(16, 3, 32, 32, generator=torch.Generator().manual_seed(5))


@pytest.fixture()
def batches(images: Tensor) -> Callable[[int], Iterator[Tuple[Tensor, Tensor]]]:
    """Two batches of one view each, the same every epoch."""
    labels = torch.arange(16) % 10
    pairs: List[Tuple[Tensor, Tensor]] = [(images[None, :8], labels[:8]), (images[None, 8:], labels[8:])]
    return lambda epoch: iter(pairs)
