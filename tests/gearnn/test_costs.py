"""Costs of any widths equal those of the networks built at these widths."""

from __future__ import annotations

from pathlib import Path
from typing import Callable, Dict, List

import pytest
import torch
from torch import nn

from gearnn.costs import mac_cost, parameter_cost, size_cost, width_cost
from gearnn.engine.export import export_onnx
from gearnn.growth.graph import trace_channels
from gearnn.models import count_parameters, create_model, full_widths, scaled_widths

NAMES = ("vgg19", "mobilenet_v1", "resnet18")
EXAMPLE = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def _uneven(name: str) -> Dict[str, int]:
    layers: List[str] = create_model(name, 10, scaled_widths(name, 1 / 16)).width_layers  # type: ignore[assignment]
    return {layer: 8 * (2 + index % 4) for index, layer in enumerate(layers)}


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture()
def seed(name: str) -> nn.Module:
    return create_model(name, 10, scaled_widths(name, 1 / 16)).eval()


@pytest.fixture()
def grown(name: str) -> nn.Module:
    assert len(_uneven(name)) == len(full_widths(name))
    return create_model(name, 10, tuple(_uneven(name).values())).eval()


def test_parameters_are_exact(name: str, seed: nn.Module, grown: nn.Module) -> None:
    assert parameter_cost(seed, trace_channels(seed, EXAMPLE))(_uneven(name)) == count_parameters(grown)


def test_macs_are_those_of_every_call(name: str, seed: nn.Module, grown: nn.Module) -> None:
    counted = 0

    def count(module: nn.Module, inputs: object, output: torch.Tensor) -> None:
        nonlocal counted
        weight = module.weight  # type: ignore[union-attr]
        counted += output.numel() * weight[0].numel()  # type: ignore[index, operator]

    for module in grown.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            module.register_forward_hook(count)
    with torch.no_grad():
        grown(EXAMPLE)
    assert mac_cost(seed, trace_channels(seed, EXAMPLE))(_uneven(name)) == counted > 0


def test_bytes_of_the_exported_file_are_foreseen(name: str, seed: nn.Module, grown: nn.Module, tmp_path: Path) -> None:
    sizes = [export_onnx(model, (3, 32, 32), tmp_path / "model.onnx").stat().st_size for model in (seed, grown)]
    cost = size_cost(seed, trace_channels(seed, EXAMPLE), sizes[0])
    assert cost(trace_channels(seed, EXAMPLE).widths()) == sizes[0]
    assert cost(_uneven(name)) == pytest.approx(sizes[1], rel=2e-3)


def test_summed_widths_count_every_layer_that_writes_growable_channels() -> None:
    resnet = create_model("resnet18", 10, scaled_widths("resnet18", 1 / 8))
    expected = sum(module.out_channels for module in resnet.modules() if isinstance(module, nn.Conv2d))
    graph = trace_channels(resnet, EXAMPLE)
    assert width_cost(graph)(graph.widths()) == expected


class _Mixed(nn.Module):
    """Biases, a concatenation, a grouped convolution, a flattening and a norm that is not folded."""

    def __init__(self, left: int, right: int) -> None:
        super().__init__()
        self.left, self.right = nn.Conv2d(3, left, 3, 2, 1), nn.Conv2d(3, right, 1, 2)
        self.norm = nn.BatchNorm2d(left + right)
        self.grouped = nn.Conv2d(left + right, left + right, 3, 2, 1, groups=left + right)
        self.head = nn.Linear((left + right) * 64, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.norm(torch.cat([self.left(x), self.right(x)], 1)))
        return self.head(self.grouped(x).flatten(1))


@pytest.mark.parametrize("widths", [(16, 8), (24, 40)])
def test_other_structures_are_counted_too(widths: Callable[..., int], tmp_path: Path) -> None:
    seed, grown = _Mixed(8, 8).eval(), _Mixed(*widths).eval()  # type: ignore[misc]
    graph = trace_channels(seed, EXAMPLE)
    chosen = dict(zip(("left", "right"), widths))  # type: ignore[call-overload]
    assert parameter_cost(seed, graph)(chosen) == count_parameters(grown)
    sizes = [export_onnx(model, (3, 32, 32), tmp_path / "model.onnx").stat().st_size for model in (seed, grown)]
    assert size_cost(seed, graph, sizes[0])(chosen) == pytest.approx(sizes[1], rel=1e-2)
