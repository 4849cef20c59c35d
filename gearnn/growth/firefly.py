"""Firefly's candidates: splits of existing neurons and new neurons, trained together, then scored to first order.

Wu et al., "Firefly Neural Architecture Descent" (NeurIPS 2020, arXiv 2102.08574). All candidates of all layers are trained
in one widened network whose own weights stay as they are. Splits here follow depthwise layers, and residual streams are
split in all their producers at once, so what is grown is what was scored.
"""

from __future__ import annotations

import math
from typing import Dict, Iterable, List, Tuple

import torch
from torch import Tensor

from gearnn.errors import UserError
from gearnn.growth.candidates import Offer, Splitting, Task, blank_bank, everything, logits, offered_counts
from gearnn.growth.decision import Scores
from gearnn.growth.graph import Span, size
from gearnn.growth.score import read_existing, taylor
from gearnn.growth.surgery import Bank, widened_shell, widened_state

SPLITTING = Splitting(signs=(1.0, -1.0), gains=(0.5, 0.5))
"""Neuron i becomes W_i + v and W_i − v, with half its outgoing weights each."""


def firefly(task: Task) -> Offer:
    """Eg epochs of candidate training, one of scoring; the candidates keep what they have learnt, so the function changes.

    Raises:
        UserError: if the loss stops being finite.
    """
    bank = _propose(task)
    _train(task, bank)
    return Offer(bank, _score(task, bank), SPLITTING)


def _propose(task: Task) -> Bank:
    """Untrained candidates: v ~ U(±0.1), outgoing weights of new neurons ~ U(±0.01), incoming ones and filters ~ N(0, 0.1²)."""
    bank = blank_bank(task, offered_counts(task.graph, task.config))

    def uniform(like: Tensor, bound: float) -> Tensor:
        return ((torch.rand(like.shape, generator=task.generator) * 2 - 1) * bound).to(like.device)

    for path, zeros in bank.split.items():
        bank.split[path] = uniform(zeros, 0.1)
    for path, zeros in bank.new_rows.items():
        bank.new_rows[path] = 0.1 * task.draw(*zeros.shape)
    for place, zeros in bank.new_filters.items():
        bank.new_filters[place] = 0.1 * task.draw(*zeros.shape)
    for place, zeros in bank.new_columns.items():
        bank.new_columns[place] = uniform(zeros, 0.01)
    return bank


def _counts(bank: Bank, task: Task) -> Dict[str, int]:
    return {group.name: len(bank.new_rows[group.producers[0]]) for group in task.graph.groups}


def _train(task: Task, bank: Bank) -> None:
    """Train the bank in place, all candidates switched on, BatchNorm frozen at its running statistics."""
    config = task.config
    layouts = everything(task, _counts(bank, task), SPLITTING)
    shell = widened_shell(task.model, task.graph, layouts).eval()
    tensors = [tensor.requires_grad_(True) for tensor in bank.tensors()]
    optimizer = torch.optim.RMSprop(tensors, lr=config.learning_rate, momentum=0.1, alpha=0.9)
    for epoch in range(config.epochs):
        for views, labels in task.batches(epoch):
            state = widened_state(task.model, task.graph, bank, layouts)
            loss = task.objective(logits(shell, state, views), labels)
            if not math.isfinite(loss.item()):
                raise UserError("the loss of the growth candidates is not finite: lower --growth.learning-rate")
            new = [*bank.new_rows.values(), *bank.new_filters.values()]
            norms = _square_sum(bank.split.values()) + 1e-2 * _square_sum(new)
            optimizer.zero_grad()
            (loss + config.penalty * norms).backward()
            optimizer.step()
    for tensor in tensors:
        tensor.requires_grad_(False)


def _score(task: Task, bank: Bank) -> Dict[str, Scores]:
    """One pass over the data: dL/dy of a scale y on each candidate's effect, at y = 0 (Firefly's first-order score).

    A split's effect is the replacement of a neuron's output by the mean of its two halves; a new neuron's, its output. With all
    of them present but none passed on, and S_c the loss's derivative by a factor on what consumers read of channel c, a new
    neuron's score is S, and a split's is −S of the neuron plus half of S of each half. Averaged over the batches.
    """
    graph = task.graph
    layouts = everything(task, _counts(bank, task), SPLITTING)
    with_old = {}
    for group in graph.groups:  # every neuron as it is, before its halves and the new ones; each with its whole outgoing weight
        layout = layouts[group.name]
        old = torch.arange(group.width, device=layout.source.device)
        sign = torch.cat([torch.zeros(group.width, device=old.device), layout.sign])
        with_old[group.name] = type(layout)(torch.cat([old, layout.source]), sign, torch.ones_like(sign))
    state = widened_state(task.model, graph, bank, with_old)
    shell = widened_shell(task.model, graph, with_old).eval()
    offered = {name: len(layout.source) for name, layout in with_old.items()}
    consumers = {path for group in graph.groups for path in group.consumers}
    readers = read_existing(shell, graph, offered, taylor({path: state[f"{path}.weight"] for path in consumers}))
    count = 0
    for views, labels in task.batches(task.config.epochs):
        task.objective(logits(shell, state, views), labels).backward()
        count += 1
    totals = {name: torch.zeros(width, dtype=torch.float64, device=task.device()) for name, width in offered.items()}
    for reader in readers.values():
        for span, part in zip(reader.layer.inputs, _parts(reader.layer.inputs, offered, reader.totals["taylor"])):
            if span.group is not None:
                totals[span.group] += part
    scores = {}
    for group in graph.groups:
        width = group.width
        old, plus, minus, new = (totals[group.name] / max(count, 1)).tensor_split([width, 2 * width, 3 * width])
        scores[group.name] = Scores((plus + minus) / 2 - old, new)
    return scores


def _parts(spans: Iterable[Span], offered: Dict[str, int], totals: Tensor) -> Tuple[Tensor, ...]:
    return totals.split([size([span], offered) for span in spans])


def _square_sum(tensors: Iterable[Tensor]) -> Tensor:
    parts: List[Tensor] = [tensor.square().sum() for tensor in tensors]
    return torch.stack(parts).sum() if parts else torch.zeros(())
