"""Candidates learn, and their scores are what they say: derivatives of the loss."""

from __future__ import annotations

from typing import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gearnn.config import FireflyConfig
from gearnn.errors import UserError
from gearnn.growth.decision import GroupGrowth, GrowthDecision
from gearnn.growth.firefly import chosen_layouts, propose, score_candidates, train_candidates
from gearnn.growth.graph import trace_channels
from gearnn.growth.surgery import Bank, widened_model

Objective = Callable[[Tensor, Tensor], Tensor]


def objective(logits: Tensor, labels: Tensor) -> Tensor:
    return F.cross_entropy(logits[0], labels)


@pytest.mark.parametrize("name", ["vgg19", "mobilenet_v1", "resnet18"])
def test_scores_are_the_derivative_of_the_loss(name: str, small_network: Callable[[str], nn.Module], images: Tensor) -> None:
    """For a single new neuron, growing it with an outgoing weight of y changes the loss by score · y to first order."""
    model = small_network(name).double()
    graph = trace_channels(model)
    bank = propose(model, graph, FireflyConfig(), torch.Generator().manual_seed(0))
    bank = Bank(*({layer: t.double() * 10 for layer, t in part.items()} for part in vars(bank).values()))
    labels = torch.arange(16) % 10
    scores = score_candidates(model, graph, bank, lambda epoch: [(images.double()[None], labels)], objective, 0)
    base = objective(model(images.double())[None], labels).item()
    group = graph.groups[2]

    def loss_with(neuron: int, scale: float) -> float:
        growths = tuple(
            GroupGrowth(g.name, g.width, g.width, (), (neuron,) if g.name == group.name else (), 0.0) for g in graph.groups
        )
        scaled = Bank(bank.split, bank.new_rows, {k: v * scale for k, v in bank.new_columns.items()}, bank.new_filters)
        layouts = chosen_layouts(graph, GrowthDecision(growths, "", 0, 0, 0, ""), torch.device("cpu"))
        return objective(widened_model(model, graph, scaled, layouts)(images.double())[None], labels).item()

    step = 1e-6
    for neuron in (0, 3):
        slope = (loss_with(neuron, step) - loss_with(neuron, -step)) / (2 * step)
        assert abs(slope) > 1e-9
        assert scores[group.name].new[neuron] == pytest.approx(slope, rel=1e-3, abs=1e-8)
    assert base == pytest.approx(loss_with(0, 0.0), rel=1e-9)


def test_training_candidates_lowers_the_loss_and_leaves_the_network_alone(
    small_network: Callable[[str], nn.Module], batches: Callable, images: Tensor
) -> None:
    model = small_network("vgg19")
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    graph = trace_channels(model)
    config = FireflyConfig(epochs=15, learning_rate=3e-3)
    bank = propose(model, graph, config, torch.Generator().manual_seed(0))
    untrained = {layer: tensor.clone() for layer, tensor in bank.split.items()}
    train_candidates(model, graph, bank, batches, objective, config)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert any(not torch.equal(tensor, untrained[layer]) for layer, tensor in bank.split.items())
    everything = tuple(
        GroupGrowth(g.name, g.width, 0, tuple(range(g.width)), tuple(range(len(bank.new_rows[g.name]))), 0.0)
        for g in graph.groups
    )
    layouts = chosen_layouts(graph, GrowthDecision(everything, "", 0, 0, 0, ""), torch.device("cpu"))
    labels = torch.arange(16) % 10
    grown_loss = objective(widened_model(model, graph, bank, layouts)(images)[None], labels)
    assert grown_loss < objective(model(images)[None], labels) - 0.05


def test_split_scores_see_the_curvature(small_network: Callable[[str], nn.Module], batches: Callable) -> None:
    model = small_network("vgg19")
    graph = trace_channels(model)
    bank = propose(model, graph, FireflyConfig(), torch.Generator().manual_seed(0))
    scores = score_candidates(model, graph, bank, batches, objective, 0)
    splits = np.concatenate([score.split for score in scores.values()])
    assert np.isfinite(splits).all()
    assert np.abs(splits).max() > 1e-6
    still = Bank({k: torch.zeros_like(v) for k, v in bank.split.items()}, bank.new_rows, bank.new_columns, bank.new_filters)
    unsplit = score_candidates(model, graph, still, batches, objective, 0)
    assert max(np.abs(score.split).max() for score in unsplit.values()) < 1e-6


def test_a_diverging_loss_is_an_error(small_network: Callable[[str], nn.Module], batches: Callable) -> None:
    model = small_network("vgg19")
    graph = trace_channels(model)
    bank = propose(model, graph, FireflyConfig(), torch.Generator().manual_seed(0))
    with pytest.raises(UserError, match="not finite"):
        train_candidates(model, graph, bank, batches, lambda logits, labels: logits.sum() * float("nan"), FireflyConfig())
