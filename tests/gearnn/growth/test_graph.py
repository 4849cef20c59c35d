"""Channel groups, found by tracing."""

from __future__ import annotations

from typing import Callable

import pytest
import torch
from torch import Tensor, nn

from gearnn.errors import UserError
from gearnn.growth.graph import trace_channels


def test_vgg_has_a_group_per_layer(small_network: Callable[[str], nn.Module]) -> None:
    model = small_network("vgg19")
    graph = trace_channels(model)
    assert [group.name for group in graph.groups] == model.width_layers
    assert all(len(group.producers) == len(group.norms) == len(group.consumers) == 1 for group in graph.groups)
    assert graph.fixed == {"classifier": "its channels are the network's outputs"}


def test_depthwise_layers_follow_their_pointwise_ones(small_network: Callable[[str], nn.Module]) -> None:
    model = small_network("mobilenet_v1")
    graph = trace_channels(model)
    assert [group.name for group in graph.groups] == model.width_layers
    first, last = graph.groups[0], graph.groups[-1]
    assert first.followers == ("features.2.0",)
    assert first.norms == ("features.0.1", "features.2.1")
    assert last.followers == ()
    assert last.consumers == ("classifier",)


def test_residual_streams_move_together(small_network: Callable[[str], nn.Module]) -> None:
    model = small_network("resnet18")
    graph = trace_channels(model)
    assert {group.name for group in graph.groups} == set(model.width_layers)
    stem = graph.group("stem.0.0")
    assert stem.producers == ("stem.0.0", "stages.0.0.expand.0", "stages.0.1.expand.0")
    assert set(stem.consumers) == {"stages.0.0.reduce.0", "stages.0.1.reduce.0", "stages.1.0.reduce.0", "stages.1.0.shortcut.0"}
    second = graph.group("stages.1.0.expand.0")
    assert set(second.producers) == {"stages.1.0.expand.0", "stages.1.0.shortcut.0", "stages.1.1.expand.0"}


class _Odd(nn.Module):
    """A grouped convolution, a shared one, and a concatenation: each ends growth for the channels it touches."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.grouped = nn.Conv2d(8, 8, 3, padding=1, groups=2)
        self.shared = nn.Conv2d(8, 8, 3, padding=1)
        self.free = nn.Conv2d(8, 8, 1)
        self.last = nn.Conv2d(8, 8, 1)
        self.head = nn.Linear(16, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.shared(self.shared(self.grouped(self.first(x))))
        x = self.last(torch.relu(self.free(x)))
        return self.head(torch.cat([x, x], dim=1).mean((2, 3)))


def test_what_it_does_not_know_is_left_alone_and_named() -> None:
    graph = trace_channels(_Odd())
    assert [group.name for group in graph.groups] == ["free"]
    assert "grouped" in graph.fixed["first"]
    assert "cat" in graph.fixed["last"]


class _Branching(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x if x.sum() > 0 else -x


def test_untraceable_networks_are_an_error() -> None:
    with pytest.raises(UserError, match="cannot be traced"):
        trace_channels(_Branching())


class _Flattening(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.hidden = nn.Linear(4 * 16, 6)
        self.head = nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.relu(self.hidden(torch.flatten(torch.relu(self.conv(x)), 1))))


def test_flattening_and_hidden_linear_layers_are_understood() -> None:
    graph = trace_channels(_Flattening())
    assert [(group.name, group.width, group.consumers) for group in graph.groups] == [
        ("conv", 4, ("hidden",)),
        ("hidden", 6, ("head",)),
    ]
