"""Widening keeps the function, the momentum and the class of the network."""

from __future__ import annotations

from typing import Callable, Dict

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gearnn.config import GrowthConfig
from gearnn.growth.decision import GroupGrowth, GrowthDecision
from gearnn.growth.firefly import chosen_layouts, propose
from gearnn.growth.graph import ChannelGraph, trace_channels
from gearnn.growth.surgery import Bank, carried_momentum, widened_model
from gearnn.models import create_model, widths_of

NAMES = ("vgg19", "mobilenet_v1", "resnet18")


def _decision(graph: ChannelGraph) -> GrowthDecision:
    """Splits and new neurons in every group, different ones in each."""
    groups = []
    for index, group in enumerate(graph.groups):
        split, new = tuple(range(index % 3, group.width, 2)), tuple(range(1, 4 + index % 5))
        groups.append(GroupGrowth(group.name, group.width, group.width + len(split) + len(new), split, new, -1.0))
    return GrowthDecision(tuple(groups), "summed widths", 0, 0, 0, "candidates")


def _bank(model: nn.Module, graph: ChannelGraph) -> Bank:
    return propose(model, graph, GrowthConfig(), torch.Generator().manual_seed(0))


def _silent(bank: Bank) -> Bank:
    """Splits into equal halves, new neurons with zero outgoing weights."""

    def zero(part: Dict[str, Tensor]) -> Dict[str, Tensor]:
        return {layer: torch.zeros_like(tensor) for layer, tensor in part.items()}

    return Bank(zero(bank.split), bank.new_rows, zero(bank.new_columns), bank.new_filters)


@pytest.mark.parametrize("name", NAMES)
def test_copies_and_silent_neurons_keep_the_function(
    name: str, small_network: Callable[[str], nn.Module], images: Tensor
) -> None:
    model = small_network(name)
    graph = trace_channels(model)
    decision = _decision(graph)
    layouts = chosen_layouts(graph, decision, torch.device("cpu"))
    grown = widened_model(model, graph, _silent(_bank(model, graph)), layouts)
    before, after = model(images), grown(images)
    assert before.std() > 0.01
    assert ((after - before).abs().max() / before.abs().max()).item() < 1e-5
    expected = {group.name: group.after for group in decision.groups}
    assert widths_of(grown) == tuple(expected[layer] for layer in model.width_layers)


@pytest.mark.parametrize("name", NAMES)
def test_perturbed_candidates_change_the_function_in_proportion(
    name: str, small_network: Callable[[str], nn.Module], images: Tensor
) -> None:
    model = small_network(name).double()
    graph = trace_channels(model)
    layouts = chosen_layouts(graph, _decision(graph), torch.device("cpu"))
    bank = _bank(model, graph)

    def change(scale: float) -> float:
        parts = [{layer: tensor.double() * scale for layer, tensor in part.items()} for part in (bank.split, bank.new_columns)]
        rows = {layer: tensor.double() for layer, tensor in bank.new_rows.items()}
        filters = {layer: tensor.double() for layer, tensor in bank.new_filters.items()}
        grown = widened_model(model, graph, Bank(parts[0], rows, parts[1], filters), layouts)
        return (grown(images.double()) - model(images.double())).abs().max().item()

    small, tiny = change(1e-4), change(1e-5)
    assert 0 < tiny < small < 0.1
    assert tiny < small / 5  # at least first order in the perturbation


@pytest.mark.parametrize("name", NAMES)
def test_grown_network_is_an_ordinary_one(name: str, small_network: Callable[[str], nn.Module], images: Tensor) -> None:
    model = small_network(name)
    graph = trace_channels(model)
    grown = widened_model(model, graph, _bank(model, graph), chosen_layouts(graph, _decision(graph), torch.device("cpu")))
    rebuilt = create_model(name, 10, widths_of(grown)).eval()
    rebuilt.load_state_dict(grown.state_dict())
    torch.testing.assert_close(rebuilt(images), grown(images))
    grown.train()
    F.cross_entropy(grown(images), torch.arange(16) % 10).backward()
    assert all(parameter.grad is not None for parameter in grown.parameters())


def test_momentum_is_kept_for_old_weights_and_zero_for_new_ones(small_network: Callable[[str], nn.Module]) -> None:
    model = small_network("mobilenet_v1")
    graph = trace_channels(model)
    generator = torch.Generator().manual_seed(1)
    momentum = {name: torch.randn(p.shape, generator=generator) for name, p in model.named_parameters()}
    grown = widened_model(model, graph, _bank(model, graph), chosen_layouts(graph, _decision(graph), torch.device("cpu")))
    carried = carried_momentum(momentum, grown)
    for name, parameter in grown.named_parameters():
        old = momentum[name]
        assert carried[name].shape == parameter.shape
        block = carried[name][tuple(slice(0, size) for size in old.shape)]
        assert torch.equal(block, old)
        assert torch.isclose(carried[name].abs().sum(), old.abs().sum(), rtol=1e-5)


class _Flattening(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1, bias=True)
        self.hidden = nn.Linear(4 * 9, 6)
        self.head = nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.relu(self.hidden(torch.flatten(torch.relu(self.conv(x)), 1))))


def test_biases_and_flattened_features_are_widened() -> None:
    torch.manual_seed(0)
    model = _Flattening().eval()
    graph = trace_channels(model)
    layouts = chosen_layouts(graph, _decision(graph), torch.device("cpu"))
    grown = widened_model(model, graph, _silent(_bank(model, graph)), layouts)
    images = torch.randn(5, 3, 3, 3, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(grown(images), model(images), atol=1e-6, rtol=1e-5)
    assert grown.conv.weight.shape[0] > 4
    assert grown.hidden.in_features == 9 * grown.conv.out_channels
