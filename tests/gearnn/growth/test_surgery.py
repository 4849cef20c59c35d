"""Widening follows its layouts: what is perturbed a little changes the function a little, and what comes out is an ordinary
network."""

from __future__ import annotations

from typing import Callable, Dict

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gearnn.config import GrowthConfig
from gearnn.growth.candidates import Task, chosen_layouts
from gearnn.growth.carry import carried_momentum
from gearnn.growth.decision import GroupGrowth, GrowthDecision
from gearnn.growth.firefly import SPLITTING, _propose
from gearnn.growth.graph import ChannelGraph, trace_channels
from gearnn.growth.surgery import Bank, widened_model
from gearnn.losses import consistency_loss
from gearnn.models import create_model, widths_of

NAMES = ("vgg19", "mobilenet_v1", "resnet18")
CPU = torch.device("cpu")
Make = Callable[[str], nn.Module]


def _decision(graph: ChannelGraph) -> GrowthDecision:
    """Splits and new neurons in every group, different ones in each."""
    groups = []
    for index, group in enumerate(graph.groups):
        split, new = tuple(range(index % 3, group.width, 2)), tuple(range(1, 4 + index % 5))
        groups.append(GroupGrowth(group.name, group.width, group.width + len(split) + len(new), split, new, -1.0))
    return GrowthDecision(tuple(groups), (), "candidates")


def _bank(model: nn.Module, graph: ChannelGraph) -> Bank:
    generator = torch.Generator().manual_seed(0)
    return _propose(Task(model, graph, lambda epoch: [], consistency_loss, GrowthConfig(), generator))


@pytest.mark.parametrize("name", NAMES)
def test_perturbed_candidates_change_the_function_in_proportion(name: str, small_network: Make, images: Tensor) -> None:
    model = small_network(name)
    graph = trace_channels(model, images)
    layouts = chosen_layouts(graph, _decision(graph), SPLITTING, CPU)
    bank = _bank(model, graph)
    model = model.double()

    def change(scale: float) -> float:
        def times(part: Dict, factor: float) -> Dict:
            return {place: tensor.double() * factor for place, tensor in part.items()}

        scaled = Bank(
            times(bank.split, scale), times(bank.new_rows, 1), times(bank.new_columns, scale), times(bank.new_filters, 1)
        )
        grown = widened_model(model, graph, scaled, layouts)
        return (grown(images.double()) - model(images.double())).abs().max().item()

    small, tiny = change(1e-4), change(1e-5)
    assert 0 < tiny < small < 0.1
    assert tiny < small / 5  # at least first order in the perturbation


@pytest.mark.parametrize("name", NAMES)
def test_grown_network_is_an_ordinary_one(name: str, small_network: Make, images: Tensor) -> None:
    model = small_network(name)
    graph = trace_channels(model, images)
    decision = _decision(graph)
    grown = widened_model(model, graph, _bank(model, graph), chosen_layouts(graph, decision, SPLITTING, CPU))
    assert widths_of(grown) == tuple(decision.widths()[layer] for layer in model.width_layers)  # type: ignore[union-attr]
    rebuilt = create_model(name, 10, widths_of(grown)).eval()
    rebuilt.load_state_dict(grown.state_dict())
    torch.testing.assert_close(rebuilt(images), grown(images))
    grown.train()
    F.cross_entropy(grown(images), torch.arange(16) % 10).backward()
    assert all(parameter.grad is not None for parameter in grown.parameters())


@pytest.mark.parametrize("name", ["mobilenet_v1", "dense", "branches"])
def test_momentum_stays_with_its_weights_behind_concatenations_and_flattenings(
    name: str, small_network: Make, images: Tensor
) -> None:
    """Where the function is kept, old weights are where they were, and momentum that equals the weights follows them."""
    model = small_network(name)
    graph = trace_channels(model, images)
    bank = _bank(model, graph)
    for part in (bank.split, bank.new_columns):
        for tensor in part.values():
            tensor.zero_()
    decision = _decision(graph)
    kept = chosen_layouts(graph, decision, SPLITTING, CPU)
    ones = {group: type(layout)(layout.source, layout.sign, torch.ones_like(layout.gain)) for group, layout in kept.items()}
    grown = widened_model(model, graph, bank, ones)
    weights = {key: parameter.detach() for key, parameter in model.named_parameters()}
    carried = carried_momentum(graph, weights, grown, decision.widths())
    for key, parameter in grown.named_parameters():
        kept_weights = carried[key] != 0
        assert torch.equal(carried[key][kept_weights], parameter.detach()[kept_weights]), key
        assert int(kept_weights.sum()) == int((weights[key] != 0).sum())
