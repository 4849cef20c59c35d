"""Normalisation as a layer."""

from __future__ import annotations

import pytest
import torch

from gearnn.models import Normalize, create_model, deployable, scaled_widths


def test_normalises_each_channel() -> None:
    images = torch.rand(4, 3, 5, 5, generator=torch.Generator().manual_seed(0))
    mean, std = (0.1, 0.5, 0.9), (0.2, 0.3, 0.4)
    expected = torch.stack([(images[:, c] - mean[c]) / std[c] for c in range(3)], dim=1)
    torch.testing.assert_close(Normalize(mean, std)(images), expected)


def test_deployable_puts_it_in_front() -> None:
    net = create_model("vgg19", 4, scaled_widths("vgg19", 1 / 16), in_chans=1).eval()
    images = torch.rand(3, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(deployable(net, [0.4], [0.2])(images), net((images - 0.4) / 0.2))


def test_refuses_what_cannot_normalise() -> None:
    with pytest.raises(ValueError, match="std above 0"):
        Normalize([0.5], [0.0])
