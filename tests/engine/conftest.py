"""A small network with every kind of layer our networks have, trained-like weights, and its ONNX file."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gearnn.engine.export import export_onnx


class SmallNet(nn.Module):
    """Convolution, batch norm, depthwise convolution, residual sum, pooling, linear: (B, 3, 16, 16) → (B, 5)."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU())
        self.depthwise = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1, groups=8, bias=False), nn.BatchNorm2d(8), nn.ReLU())
        self.pointwise = nn.Sequential(nn.Conv2d(8, 8, 1, bias=False), nn.BatchNorm2d(8))
        self.pool = nn.AdaptiveAvgPool2d(2)
        self.classifier = nn.Linear(32, 5)

    def forward(self, images: Tensor) -> Tensor:
        features = self.stem(images)
        features = torch.relu(features + self.pointwise(self.depthwise(features)))
        return self.classifier(self.pool(features).flatten(1))


@pytest.fixture()
def small_net() -> SmallNet:
    """In eval mode; weights and batch-norm statistics far from their initial values."""
    generator = torch.Generator().manual_seed(0)
    net = SmallNet().eval()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.4)
        for module in net.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.weight.copy_(torch.rand(8, generator=generator) + 0.5)
                module.running_mean.copy_(torch.randn(8, generator=generator))
                module.running_var.copy_(torch.rand(8, generator=generator) * 3 + 0.2)
    return net


@pytest.fixture()
def images() -> np.ndarray:
    """float32 (70, 3, 16, 16) in [0, 1]: more than one batch, the last one smaller."""
    return np.random.default_rng(1).random((70, 3, 16, 16), dtype=np.float32)


@pytest.fixture()
def onnx_file(small_net: SmallNet, tmp_path: Path) -> Path:
    """The small network, exported."""
    return export_onnx(small_net, (3, 16, 16), tmp_path / "small.onnx", metadata={"classes": json.dumps(list("abcde"))})


@pytest.fixture(scope="session")
def trt_fakes() -> ModuleType:
    """Stand-ins for TensorRT 8.5, 10 and 11: the module beside this file."""
    spec = importlib.util.spec_from_file_location("fakes_tensorrt", Path(__file__).with_name("fakes_tensorrt.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
