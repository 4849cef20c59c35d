"""Firefly's candidates: splits of existing neurons and new neurons, trained together, then scored to first order.

Wu et al., "Firefly Neural Architecture Descent" (NeurIPS 2020, arXiv 2102.08574). All candidates of all layers are trained
in one widened network whose own weights stay as they are. Splits here follow depthwise layers, and residual streams are
split in all their producers at once, so what is grown is what was scored.
"""

from __future__ import annotations

import math
from typing import Callable, Dict, Iterable, List, Tuple

import torch
from torch import Tensor, nn
from torch.func import functional_call

from gearnn.config import FireflyConfig
from gearnn.errors import UserError
from gearnn.growth.decision import GrowthDecision, Scores
from gearnn.growth.graph import ChannelGraph, ChannelGroup
from gearnn.growth.score import score_inputs
from gearnn.growth.surgery import Bank, Layout, matrix_view, widened_shell, widened_state

Batches = Callable[[int], Iterable[Tuple[Tensor, Tensor]]]
"""``batches(epoch)`` → pairs of normalised views (J, B, C, H, W) and labels (B,)."""
Objective = Callable[[Tensor, Tensor], Tensor]
"""Logits (J, B, K) and labels (B,) → the loss to lower."""


def propose(model: nn.Module, graph: ChannelGraph, config: FireflyConfig, generator: torch.Generator) -> Bank:
    """Draw untrained candidates: v ~ U(±0.1), outgoing weights of new neurons ~ U(±0.01), incoming ones ~ N(0, 0.1²)."""
    counts = {group.name: config.new_candidates or min(max(2 * group.width, 16), 70) for group in graph.groups}
    widths = {group.name: group.width for group in graph.groups}
    inputs = graph.input_of()
    bank = Bank({}, {}, {}, {})
    device = next(model.parameters()).device

    def uniform(shape: Tuple[int, ...], bound: float) -> Tensor:
        return ((torch.rand(shape, generator=generator) * 2 - 1) * bound).to(device)

    def normal(shape: Tuple[int, ...], deviation: float) -> Tensor:
        return (torch.randn(shape, generator=generator) * deviation).to(device)

    for group in graph.groups:
        for layer in group.producers:
            weight = matrix_view(model.get_submodule(layer), widths.get(inputs.get(layer, "")))
            bank.split[layer] = uniform(tuple(weight.shape), 0.1)
            bank.new_rows[layer] = normal((counts[group.name], *weight.shape[1:]), 0.1)
        for layer in group.followers:
            rest = matrix_view(model.get_submodule(layer), None).shape[2]
            bank.new_filters[layer] = normal((counts[group.name], 1, rest), 0.1)
        for layer in group.consumers:
            weight = matrix_view(model.get_submodule(layer), group.width)
            bank.new_columns[layer] = uniform((weight.shape[0], counts[group.name], weight.shape[2]), 0.01)
    return bank


def train_candidates(
    model: nn.Module, graph: ChannelGraph, bank: Bank, batches: Batches, objective: Objective, config: FireflyConfig
) -> None:
    """Train the bank in place, all candidates switched on, BatchNorm frozen at its running statistics.

    Raises:
        UserError: if the loss stops being finite.
    """
    layouts = {group.name: _everything(group, bank) for group in graph.groups}
    shell = widened_shell(model, graph, layouts).eval()
    tensors = [tensor.requires_grad_(True) for tensor in bank.tensors()]
    optimizer = torch.optim.RMSprop(tensors, lr=config.learning_rate, momentum=0.1, alpha=0.9)
    for epoch in range(config.epochs):
        for views, labels in batches(epoch):
            state = widened_state(model, graph, bank, layouts)
            loss = objective(_logits(shell, state, views), labels)
            if not math.isfinite(loss.item()):
                raise UserError("the loss of the growth candidates is not finite: lower --growth.learning-rate")
            norms = _square_sum(bank.split) + 1e-2 * (_square_sum(bank.new_rows) + _square_sum(bank.new_filters))
            optimizer.zero_grad()
            (loss + config.penalty * norms).backward()
            optimizer.step()
    for tensor in tensors:
        tensor.requires_grad_(False)


def score_candidates(
    model: nn.Module, graph: ChannelGraph, bank: Bank, batches: Batches, objective: Objective, epoch: int
) -> Dict[str, Scores]:
    """One pass over the data: dL/dy of a scale y on each candidate's effect, at y = 0 (Firefly's first-order score).

    A split's effect is the replacement of a neuron's output by the mean of its two halves; a new neuron's, its output. With all
    of them present but none passed on, and S_c the loss's derivative by a factor on what consumers read of channel c, a new
    neuron's score is S, and a split's is −S of the neuron plus half of S of each half. Averaged over the batches.
    """
    layouts = {group.name: _with_everything(group, bank) for group in graph.groups}
    totals = {name: layout.source.new_zeros(len(layout.source), dtype=torch.float64) for name, layout in layouts.items()}
    shell = widened_shell(model, graph, layouts).eval()
    for group in graph.groups:
        for layer in group.consumers:
            score_inputs(shell.get_submodule(layer), totals[group.name])
    state = widened_state(model, graph, bank, layouts)
    count = 0
    for views, labels in batches(epoch):
        objective(_logits(shell, state, views), labels).backward()
        count += 1
    scores = {}
    for group in graph.groups:
        old, plus, minus, new = (totals[group.name] / max(count, 1)).tensor_split([group.width, 2 * group.width, 3 * group.width])
        scores[group.name] = Scores((plus + minus) / 2 - old, new)
    return scores


def chosen_layouts(graph: ChannelGraph, decision: GrowthDecision, device: torch.device) -> Dict[str, Layout]:
    """The layouts that apply a decision: existing channels in place, then the second halves of splits, then new ones."""
    layouts = {}
    for group, growth in zip(graph.groups, decision.groups):
        halves = torch.zeros(group.width)
        halves[list(growth.split)] = 1.0
        split, new = torch.tensor(growth.split, dtype=torch.int64), torch.tensor(growth.new, dtype=torch.int64)
        source = torch.cat([torch.arange(group.width), split, new + group.width])
        sign = torch.cat([halves, -torch.ones(len(split)), torch.zeros(len(new))])
        gain = torch.cat([1 - halves / 2, torch.full((len(split),), 0.5), torch.ones(len(new))])
        layouts[group.name] = Layout(source.to(device), sign.to(device), gain.to(device))
    return layouts


def _everything(group: ChannelGroup, bank: Bank) -> Layout:
    """Every neuron split, every new neuron there."""
    rows = bank.new_rows[group.producers[0]]
    old = torch.arange(group.width, device=rows.device)
    ones, fresh = torch.ones(group.width, device=rows.device), torch.ones(len(rows), device=rows.device)
    source = torch.cat([old, old, group.width + torch.arange(len(rows), device=rows.device)])
    return Layout(source, torch.cat([ones, -ones, 0 * fresh]), torch.cat([ones / 2, ones / 2, fresh]))


def _with_everything(group: ChannelGroup, bank: Bank) -> Layout:
    """Every neuron as it is, then every neuron split, then every new neuron, each with its whole outgoing weight."""
    every = _everything(group, bank)
    old = every.source[: group.width]
    sign = torch.cat([torch.zeros_like(every.sign[: group.width]), every.sign])
    return Layout(torch.cat([old, every.source]), sign, torch.ones_like(sign))


def _logits(shell: nn.Module, state: Dict[str, Tensor], views: Tensor) -> Tensor:
    logits: Tensor = functional_call(shell, state, (views.flatten(0, 1),))
    return logits.unflatten(0, views.shape[:2])


def _square_sum(tensors: Dict[str, Tensor]) -> Tensor:
    parts: List[Tensor] = [tensor.square().sum() for tensor in tensors.values()]
    return torch.stack(parts).sum() if parts else torch.zeros(())
