"""osg's scores and momentum, against torch's own gradients in the widened network."""

from __future__ import annotations

from typing import Callable, Dict, List, Tuple

import pytest
import torch
from torch import Tensor, nn

from gearnn.config import GrowthConfig
from gearnn.growth.candidates import Task, everything, first_batches, offered_counts
from gearnn.growth.graph import trace_channels
from gearnn.growth.osg import DISPLACEMENT, HEAD_START, SPLITTING, osg
from gearnn.growth.pursuit import Evidence, marginal_gains
from gearnn.growth.surgery import widened_model
from gearnn.losses import consistency_loss


def _places(task: Task, consumer: str, widths: Dict[str, int]) -> Tuple[Tensor, Dict[str, Tensor]]:
    """Where a consumer finds existing channels, and those of each group, counted out one span after the other."""
    existing: List[int] = []
    by_group, offset = {}, 0
    for span in task.graph.layers[consumer].inputs:
        width = span.width if span.group is None else widths[span.group]
        existing += range(offset, offset + span.width)
        by_group[str(span.group)] = torch.arange(offset + span.width, offset + width)
        offset += width
    return torch.tensor(existing), by_group


@pytest.mark.parametrize("name", ["dense", "grouped", "layer_norm", "branches", "vgg19"])
def test_scores_and_momentum_are_those_of_autograd(
    name: str, small_network: Callable[[str], nn.Module], make_task: Callable[..., Task]
) -> None:
    """In the network with all copies and new neurons, their outgoing weights zero, by torch's gradients alone."""
    task = make_task(small_network(name), new_candidates=8)
    counts, offer = offered_counts(task.graph, task.config), osg(task)
    layouts = everything(task, counts, SPLITTING)
    widths = {group: len(layout.source) for group, layout in layouts.items()}
    wide = widened_model(task.model, task.graph, offer.bank, layouts)
    paths = list(dict.fromkeys(path for group in task.graph.groups for path in group.consumers))
    inputs: Dict[str, Tensor] = {}
    for path in paths:
        wide.get_submodule(path).register_forward_pre_hook(lambda _, given, path=path: inputs.__setitem__(path, given[0]))
    gradients: Dict[str, Tensor] = {}
    products: Dict[str, Tensor] = {}
    grams: Dict[str, Tensor] = {}
    whole = {group.name for group in task.graph.groups if group.whole}
    pieces = list(first_batches(task))
    assert len(pieces) == 4
    for views, labels in pieces:
        loss = task.objective(wide(views[0])[None], labels)
        found = torch.autograd.grad(loss, [wide.get_submodule(path).weight for path in paths])
        for path, gradient in zip(paths, found):
            layer = task.graph.layers[path]
            rows = sum(span.width for span in layer.outputs)
            channels = sum(span.width if span.group is None else widths[span.group] for span in layer.inputs)
            if layer.outputs[0].group in whole:  # copies are, together with the originals, what the network has now
                gradient = gradient.unflatten(0, (2, rows)).sum(0)
            by_channel = gradient[:rows].reshape(rows, channels, -1)
            flat = by_channel.transpose(0, 1).flatten(1).double()
            x = inputs[path].detach().double()
            if layer.features > 1:
                x = x.unflatten(1, (channels, layer.features))
            axis = x.dim() - 1 if isinstance(task.model.get_submodule(path), nn.Linear) and layer.features == 1 else 1
            x = x.movedim(axis, -1).reshape(-1, channels)
            gradients[path] = gradients.get(path, 0) + by_channel / len(pieces)
            products[path] = products.get(path, 0) + flat @ flat.t() / len(pieces)
            grams[path] = grams.get(path, 0) + x.t() @ x / len(x) / len(pieces)
    loss = torch.stack([task.objective(task.model(views[0])[None], labels) for views, labels in pieces]).mean()
    for path, present in zip(paths, torch.autograd.grad(loss, [task.model.get_submodule(path).weight for path in paths])):
        existing, _ = _places(task, path, widths)
        by_channel = present.reshape(len(present), len(existing), -1)
        torch.testing.assert_close(gradients[path][:, existing], by_channel, rtol=1e-3, atol=1e-4 * present.abs().max().item())
    for group in task.graph.groups:
        where = [_places(task, path, widths) for path in group.consumers]
        for path, (_, by_group) in zip(group.consumers, where):
            expected = HEAD_START * gradients[path][:, by_group[group.name]]
            assert expected.abs().max() > 1e-6
            found_momentum = offer.momentum[path, group.name]
            torch.testing.assert_close(found_momentum, expected, rtol=1e-3, atol=1e-4 * expected.abs().max().item())
        gains = marginal_gains(
            [Evidence(products[path], grams[path]) for path in group.consumers],
            [existing for existing, _ in where],
            [by_group[group.name] for _, by_group in where],
            group.block,
        )
        scores = torch.cat([offer.scores[group.name].split, offer.scores[group.name].new])
        assert len(scores) == group.width + counts[group.name]
        torch.testing.assert_close(-scores, gains, rtol=0.02, atol=1e-3 * gains.abs().max().item())


def test_copies_are_displaced_by_a_share_of_their_length(
    small_network: Callable[[str], nn.Module], make_task: Callable[..., Task]
) -> None:
    task = make_task(small_network("grouped"))
    bank = osg(task).bank
    for path, split in bank.split.items():
        length = task.weight(path).flatten(1).norm(dim=1)
        torch.testing.assert_close(split.flatten(1).norm(dim=1), DISPLACEMENT * length, rtol=1e-4, atol=1e-6)
    task = make_task(small_network("layer_norm"))
    bank = osg(task).bank
    assert not bank.split["stem"].any()  # copies of all channels under a LayerNorm stay copies
    assert bank.split["wide"].any()


def test_new_neurons_get_their_statistics(small_network: Callable[[str], nn.Module], make_task: Callable[..., Task]) -> None:
    """Behind a concatenation, each BatchNorm normalises the new channels of every group by what they really are."""
    task = make_task(small_network("dense"), micro_batch=16, new_candidates=6)
    bank = osg(task).bank
    images = torch.cat([views[0] for views, _ in task.batches(0)])
    new = nn.functional.conv2d(images, bank.new_rows["stem"].unflatten(2, (3, 3)), padding=1)
    for norm in ("norms.0", "norms.2", "transition.0"):
        mean, variance = bank.new_stats[norm, "stem"]
        torch.testing.assert_close(mean, new.mean((0, 2, 3)), rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(variance, new.var((0, 2, 3)), rtol=0.02, atol=1e-4)


def test_a_batch_that_leaves_one_image_over_is_no_obstacle(small_network: Callable[[str], nn.Module], images: Tensor) -> None:
    """BatchNorm1d cannot normalise a single image."""
    model = small_network("branches")
    labels = torch.arange(9) % 10
    graph, config = trace_channels(model, images[:1]), GrowthConfig(micro_batch=8, new_candidates=8)
    task = Task(model, graph, lambda epoch: iter([(images[None, :9], labels)]), consistency_loss, config, torch.Generator())
    assert [len(labels) for _, labels in first_batches(task)] == [5, 4]
    assert all(torch.isfinite(scores.new).all() for scores in osg(task).scores.values())
