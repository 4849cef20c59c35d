"""Our grower: closed-form proposals from a few batches, each worth the loss that its outgoing weights could take off.

Two kinds of candidate stand in one ranking. A *split* gives neuron i a copy with incoming weights W_i + v and the unequal
fan-out (1, 0), the limit of LEMON's asymmetric split (Wang et al. 2024, arXiv 2310.07999): the copy starts out as its
neuron, displaced. A *new* neuron starts from a direction that the layer's gradients span, or from a random one. Neither is read
at first, so the function stays exactly as it was, through BatchNorm and depthwise layers too, and all that matters is how fast
it can be put to use.

With h a candidate's activation and δ the loss's gradient by a consumer's output, G = Σ δ hᵀ is the gradient by the candidate's
outgoing weights, which GradMax maximises (Evci et al. 2022, arXiv 2201.05125). Here a candidate counts by the loss that it takes
off beside what is there already (`gearnn.growth.pursuit`), on every piece of the data for itself: over all data the gradient
of a trained network is next to nothing, and what single pieces still pull at is what it could not fit.
"""

from __future__ import annotations

from typing import Dict, Tuple

import torch
from torch import Tensor, nn

from gearnn.growth.candidates import (
    Offer,
    Splitting,
    Task,
    blank_bank,
    everything,
    first_batches,
    he_rows,
    logits,
    offered_counts,
)
from gearnn.growth.carry import newborn_channels, old_channels
from gearnn.growth.decision import Scores
from gearnn.growth.graph import size
from gearnn.growth.pursuit import Evidence, marginal_gains
from gearnn.growth.score import read_existing, weight_gradient
from gearnn.growth.surgery import Bank, widened_shell, widened_state

SPLITTING = Splitting(signs=(0.0, 1.0), gains=(1.0, 0.0))
"""Neuron i stays as it is; its copy has incoming weights W_i + v and is not read at first."""
DISPLACEMENT = 0.5
"""‖v‖ over ‖W_i‖."""
HEAD_START = 5.0
"""Gradients by the outgoing weights that the newborn momentum starts at, as after some steps; a momentum of 0.9 gathers 10."""


def osg(task: Task) -> Offer:
    """Three passes over a few batches: propose from the layers' gradients, estimate BatchNorm statistics, score."""
    counts = offered_counts(task.graph, task.config)
    bank = _propose(task, counts)
    bank.new_stats.update(_statistics(task, bank, counts))
    scores, momentum = score_outgoing(task, bank, counts)
    return Offer(bank, scores, SPLITTING, momentum=momentum)


def _propose(task: Task, counts: Dict[str, int]) -> Bank:
    """Directions drawn from the spread of the gradients by a layer's weights, which a few batches show.

    v is normal with the covariance, over batches, of the gradient by neuron i: the direction in which the data disagree about
    it. Half of the new neurons' weights are normal with the covariance of the gradients by all neurons of the layer: what the
    layer is asked for. The other half are random. Sums with random factors draw both without the covariance itself.
    """
    bank = blank_bank(task, counts)
    paths = list(bank.split)
    parameters = [task.model.get_submodule(path).weight for path in paths]
    total = {path: torch.zeros_like(bank.split[path]) for path in paths}
    factors, pieces = 0.0, 0
    for views, labels in first_batches(task):
        loss = task.loss(views, labels)
        factor = float(torch.randn((), generator=task.generator))
        factors, pieces = factors + factor, pieces + 1
        for path, found in zip(paths, torch.autograd.grad(loss, parameters)):  # type: ignore[arg-type]
            gradient, rows = found.view_as(total[path]), bank.new_rows[path]
            half = len(rows) // 2
            total[path] += gradient
            bank.split[path] += factor * gradient
            if half:
                rows[:half] += (task.draw(half, len(gradient)) @ gradient.flatten(1)).view(half, *rows.shape[1:])
    for group in task.graph.groups:
        for path in group.producers:
            weight, rows = task.weight(path), he_rows(task, path, counts[group.name])
            half = len(rows) // 2
            rows[:half] = _unit(bank.new_rows[path][:half]) * rows.flatten(1).norm(dim=1).mean()
            bank.new_rows[path] = rows
            length = 0.0 if group.whole else DISPLACEMENT * weight.flatten(1).norm(dim=1)[:, None, None]
            bank.split[path] = _unit(bank.split[path] - factors / pieces * total[path]) * length
    return bank


def _unit(rows: Tensor) -> Tensor:
    """Rows of length 1: (w, in, rest)."""
    return rows / rows.flatten(1).norm(dim=1).clamp(min=1e-12)[:, None, None]


@torch.no_grad()
def _statistics(task: Task, bank: Bank, counts: Dict[str, int]) -> Dict[Tuple[str, str], Tensor]:
    """Running mean and variance of new neurons in every BatchNorm: (BatchNorm, group) → (2, K), averaged over the batches."""
    layouts = everything(task, counts, SPLITTING)
    widths = {name: len(layout.source) for name, layout in layouts.items()}
    state = widened_state(task.model, task.graph, bank, layouts)
    shell = widened_shell(task.model, task.graph, layouts).eval()
    read_existing(shell, task.graph, widths, None)
    norms = {}
    for layer in task.graph.layers.values():
        module = shell.get_submodule(layer.path)
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.track_running_stats:
            norms[layer] = module.train()
            module.momentum = None  # a plain average
            module.num_batches_tracked = torch.zeros_like(module.num_batches_tracked)  # type: ignore[arg-type]
    averages = {
        f"{layer.path}.{name}": None for layer in norms for name in ("running_mean", "running_var", "num_batches_tracked")
    }
    for name in averages:
        if name.endswith("tracked"):
            state[name] = torch.zeros_like(state[name])
    averaged = {name: tensor.clone() if name in averages else tensor for name, tensor in state.items()}
    for views, _ in first_batches(task):
        logits(shell, averaged, views)
    found = {}
    for layer in norms:
        offset = 0
        for span in layer.outputs:
            if span.group is not None and counts[span.group]:
                new = slice(offset + 2 * span.width, offset + widths[span.group])
                found[layer.path, span.group] = torch.stack(
                    [averaged[f"{layer.path}.{name}"][new] for name in ("running_mean", "running_var")]
                )
            offset += size([span], widths)
    return found


def score_outgoing(task: Task, bank: Bank, counts: Dict[str, int]) -> Tuple[Dict[str, Scores], Dict[Tuple[str, str], Tensor]]:
    """Every candidate's marginal gain over its consumers, and G itself by (consumer, group), (w_o, w + K, rest)."""
    graph = task.graph
    layouts = everything(task, counts, SPLITTING)
    offered = {name: len(layout.source) for name, layout in layouts.items()}
    state = widened_state(task.model, graph, bank, layouts)
    shell = widened_shell(task.model, graph, layouts).eval()
    readers, pieces = read_existing(shell, graph, offered, weight_gradient()), 0
    for views, labels in first_batches(task):
        task.objective(logits(shell, state, views), labels).backward()
        pieces += 1
    gradients, evidence = {}, {}
    for path, reader in readers.items():
        product, gram, squares = (reader.totals[name].double() / pieces for name in ("product", "gram", "squares"))
        scale = (squares / gram.diagonal().clamp(min=1e-12)).sqrt()  # correlations of a sample, powers of all positions
        evidence[path] = Evidence(product, gram * scale[:, None] * scale)
        for name in {span.group for span in reader.layer.inputs if span.group is not None}:
            places = newborn_channels(reader.layer.inputs, name, offered).to(task.device())
            gradients[path, name] = HEAD_START * reader.totals["gradient"][:, places] / pieces
    scores = {}
    for group in graph.groups:
        inputs = [graph.layers[path].inputs for path in group.consumers]
        gains = marginal_gains(
            [evidence[path] for path in group.consumers],
            [old_channels(spans, offered) for spans in inputs],
            [newborn_channels(spans, group.name, offered) for spans in inputs],
            group.block,
        )
        scores[group.name] = Scores(-gains[: group.width], -gains[group.width :])
    return scores, gradients
