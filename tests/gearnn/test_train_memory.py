"""The predicted peak of a training step, against what the allocator hands out."""

from __future__ import annotations

from typing import Iterator

import pytest
import torch
from torch import nn

from gearnn.growth.graph import trace_channels
from gearnn.models import create_model, scaled_widths
from gearnn.step_memory import measured_memory
from gearnn.train_memory import memory_cost

EXAMPLE = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("batch", [32, 64, 128])
@pytest.mark.parametrize("name", ["vgg19", "mobilenet_v1", "resnet18"])
def test_prediction_is_within_a_tenth_of_the_measurement(name: str, batch: int) -> None:
    model = create_model(name, 10, scaled_widths(name, 1 / 8)).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    graph = trace_channels(model, EXAMPLE)
    assert memory_cost(model, graph, batch)(graph.widths()) == pytest.approx(measured_memory(model, EXAMPLE, batch), rel=0.1)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("name", ["vgg19", "mobilenet_v1", "resnet18"])
def test_on_a_gpu_whose_activations_are_half_as_large_no_more_is_taken_than_predicted(name: str) -> None:
    model = create_model(name, 10, scaled_widths(name, 1 / 4)).cuda().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    graph = trace_channels(model, EXAMPLE.cuda())
    for batch in (32, 128, 512):
        predicted = memory_cost(model, graph, batch)(graph.widths())
        assert 0.45 * predicted < measured_memory(model, EXAMPLE.cuda(), batch) < 1.05 * predicted


def test_views_count_as_images_and_other_widths_are_foreseen() -> None:
    seed = create_model("resnet18", 10, scaled_widths("resnet18", 1 / 16)).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    graph = trace_channels(seed, EXAMPLE)
    widths = [24 + 8 * (index % 3) for index in range(len(graph.groups))]
    grown = create_model("resnet18", 10, widths).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    predicted = memory_cost(seed, graph, 4 * 32)(dict(zip(seed.width_layers, widths)))  # type: ignore[arg-type]
    assert predicted == pytest.approx(measured_memory(grown, EXAMPLE, 32, views=4), rel=0.1)


class _Varied(nn.Module):
    """Operations that keep their input, their output, indices, or nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv2d(3, 32, 3, padding=1), nn.GroupNorm(4, 32)
        self.left, self.right = nn.Conv2d(32, 16, 1), nn.Conv2d(32, 16, 3, padding=1)
        self.head = nn.Linear(32 * 256, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.nn.functional.silu(self.norm(self.first(x)))
        x = x + torch.cat([self.left(x), self.right(x).sigmoid()], 1)
        return self.head(torch.nn.functional.max_pool2d(x, 2).flatten(1))


def test_other_operations_are_accounted_for() -> None:
    model = _Varied().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    graph = trace_channels(model, EXAMPLE)
    assert memory_cost(model, graph, 64)(graph.widths()) == pytest.approx(measured_memory(model, EXAMPLE, 64), rel=0.02)


@pytest.fixture()
def one_thread() -> Iterator[None]:
    """For each thread of more, oneDNN takes buffers as large as several weights of a layer, which are not predicted."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def test_weights_that_outweigh_activations_are_accounted_for(one_thread: None) -> None:
    """Weights, momentum and, when the backward pass ends, all gradients."""
    model = create_model("vgg19", 10, scaled_widths("vgg19", 1 / 4)).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    graph = trace_channels(model, EXAMPLE)
    predicted, measured = memory_cost(model, graph, 4)(graph.widths()), measured_memory(model, EXAMPLE, 4)
    assert predicted == pytest.approx(measured, rel=0.03)
    parameters = 4 * sum(parameter.numel() for parameter in model.parameters())
    assert 3 * parameters < predicted < 4 * parameters
