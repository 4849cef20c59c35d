"""Normalisation as a layer."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from gearnn.engine.export import export_onnx
from gearnn.engine.runtimes import load_runtime
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


def test_nearly_white_pictures_are_standardized_as_exactly_as_others(tmp_path: Path) -> None:
    """In torch and on the engine, against float64."""
    net = create_model("vgg19", 2, scaled_widths("vgg19", 1 / 16), standardize=True)
    size = (3, 64, 64)
    images = torch.full((3, *size), 0.995)
    images[0, :, 40:, 40:] = 0.4
    images[1] -= torch.rand(size, generator=torch.Generator().manual_seed(0)) / 50
    images[2] *= torch.linspace(0.9, 1, 64)
    layers = nn.Sequential(Normalize([0.5] * 3, [0.25] * 3), net.standardize, nn.Flatten())
    with torch.no_grad():
        exact = copy.deepcopy(layers).double()(images.double()).numpy()
        assert exact.std(1).min() > 0.1
        assert np.abs(layers(images).numpy() - exact).max() < 2e-5
        path = export_onnx(layers, size, tmp_path / "net.onnx")
    with load_runtime(path, threads=1) as runtime:
        assert np.abs(runtime.run(images.numpy()) - exact).max() < 2e-5


def test_refuses_what_cannot_normalise() -> None:
    with pytest.raises(ValueError, match="std above 0"):
        Normalize([0.5], [0.0])
