"""All growers on structurally different networks: what they promise holds, and what they grow trains and deploys."""

from __future__ import annotations

from pathlib import Path
from typing import Callable, Dict, List, Tuple

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gearnn.config import GrowthConfig
from gearnn.engine.export import export_onnx
from gearnn.engine.runtimes import load_runtime
from gearnn.errors import UserError
from gearnn.growth.candidates import Offer, Task
from gearnn.growth.decision import GroupGrowth, GrowthDecision
from gearnn.growth.graph import ChannelGraph, trace_channels
from gearnn.growth.growers import GROWERS, find_grower
from gearnn.growth.step import Growth, apply
from gearnn.losses import consistency_loss

OURS = ("vgg19", "mobilenet_v1", "resnet18")
OTHERS = ("bottleneck", "inverted_residual", "dense", "branches", "grouped", "group_norm", "layer_norm")
Make = Callable[[str], nn.Module]


def _decision(graph: ChannelGraph, offer: Offer) -> GrowthDecision:
    """Uneven growth: a different number of splits and new neurons in every group, odd ones and lone halves of pairs too."""
    groups = []
    for index, group in enumerate(graph.groups):
        scores, block = offer.scores[group.name], group.block
        splits, new = (len(kind) // block for kind in (scores.split, scores.new))
        split_blocks = range(splits)[index % 2 :: 2] if not group.whole else range(splits)
        new_blocks = range(new)[: 1 + index % 4]
        chosen = [tuple(b * block + i for b in blocks for i in range(block)) for blocks in (split_blocks, new_blocks)]
        groups.append(GroupGrowth(group.name, group.width, group.width + sum(map(len, chosen)), *chosen, -1.0))
    return GrowthDecision(tuple(groups), (), "candidates")


def _grown(model: nn.Module, grower: str, images: Tensor) -> Tuple[ChannelGraph, Growth]:
    labels = torch.arange(len(images)) % 10
    half = len(images) // 2
    pairs = [(images[None, :half], labels[:half]), (images[None, half:], labels[half:])]
    graph, config = trace_channels(model, images[:1]), GrowthConfig(micro_batch=4, new_candidates=8)
    task = Task(model, graph, lambda epoch: iter(pairs), consistency_loss, config, torch.Generator().manual_seed(0))
    offer = find_grower(grower).propose(task)
    momentum = {name: torch.full_like(parameter, 0.5) for name, parameter in model.named_parameters()}
    return graph, apply(task, offer, _decision(graph, offer), momentum)


@pytest.mark.parametrize("grower", GROWERS)
@pytest.mark.parametrize("name", OURS + OTHERS)
def test_the_function_is_kept_and_the_grown_network_trains(name: str, grower: str, small_network: Make, images: Tensor) -> None:
    model = small_network(name)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with torch.no_grad():
        expected = model(images)
    graph, growth = _grown(model, grower, images)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters()) and not model.training
    widths = trace_channels(growth.model, images[:1]).widths()
    assert widths == growth.decision.widths() and all(widths[group.name] > group.width for group in graph.groups)
    with torch.no_grad():
        change = float((growth.model(images) - expected).abs().max() / expected.abs().max())
    assert change < (1e-5 if GROWERS[grower].keeps_function else 5.0)

    added = sum(p.numel() for p in growth.model.parameters()) - sum(p.numel() for p in model.parameters())
    assert sum(int(mask.sum()) for mask in growth.newborn.values()) == added > 0
    for key, buffer in growth.momentum.items():
        newborn = growth.newborn.get(key, torch.zeros_like(buffer, dtype=torch.bool))
        assert (buffer[~newborn] == 0.5).all()
        assert grower == "osg" or (buffer[newborn] == 0).all()

    growth.model.train()
    F.cross_entropy(growth.model(images), torch.arange(len(images)) % 10).backward()
    for key, parameter in growth.model.named_parameters():
        assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), key


@pytest.mark.parametrize("name", ["vgg19", "inverted_residual", "dense", "grouped", "layer_norm"])
def test_the_engine_agrees_with_torch(name: str, small_network: Make, images: Tensor, tmp_path: Path) -> None:
    _, growth = _grown(small_network(name), "firefly", images)
    path = export_onnx(growth.model.eval(), (3, 32, 32), tmp_path / "model.onnx")
    with load_runtime(path, threads=1) as runtime, torch.no_grad():
        np.testing.assert_allclose(runtime.run(images.numpy()), growth.model(images).numpy(), atol=1e-4, rtol=1e-4)


def test_newborn_weights_of_osg_learn_from_the_first_step(small_network: Make, images: Tensor) -> None:
    """They are not read at first, so that only their outgoing weights can move, and those get momentum and gradient."""
    _, growth = _grown(small_network("vgg19"), "osg", images)
    name = "features.2.0.weight"
    assert growth.newborn[name].any()
    outgoing = growth.momentum[name][:8, 8:]  # from newborn neurons to existing ones
    assert growth.newborn[name][:8, 8:].all() and (outgoing != 0).float().mean() > 0.9
    loss = F.cross_entropy(growth.model(images), torch.arange(len(images)) % 10)
    (gradient,) = torch.autograd.grad(loss, dict(growth.model.named_parameters())[name])
    assert F.cosine_similarity(gradient[:8, 8:].flatten(), outgoing.flatten(), dim=0) > 0.2


def test_newborn_neurons_of_variance_transfer_read_each_other_in_equal_pairs(small_network: Make, images: Tensor) -> None:
    graph, growth = _grown(small_network("vgg19"), "variance_transfer", images)
    linked = 0
    for group in graph.groups:
        for path in group.producers:
            (span,) = graph.layers[path].inputs
            weight = growth.model.get_submodule(path).weight.detach()
            newborn = weight[group.width :]
            pairs = len(newborn) // 2
            assert torch.equal(newborn[: 2 * pairs : 2], newborn[1 : 2 * pairs : 2])
            if span.group is not None and pairs:
                ratio = newborn[:, span.width :].std() / weight[: group.width, : span.width].std()
                assert 0.5 < float(ratio) < 2
                linked += 1
    assert linked > 2


def test_gradmax_learns_faster_than_random_directions(images: Tensor) -> None:
    """On a linear pair of layers the gradient by outgoing weights is greatest for the leading singular vectors."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 6, 3, padding=1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 10)
    )
    norms: Dict[str, List[float]] = {}
    for grower in ("gradmax", "random"):
        _, growth = _grown(model, grower, images)
        rows = growth.model[0].weight.detach()[4:]
        norms[grower] = []
        for row in rows:
            features = F.conv2d(images, (row / row.norm())[None], padding=1)
            weight = torch.zeros(6, 1, 3, 3, requires_grad=True)
            hidden = model[1](model[0](images)) + F.conv2d(features, weight, padding=1)
            loss = F.cross_entropy(model[4](hidden.mean((2, 3))), torch.arange(len(images)) % 10)
            (gradient,) = torch.autograd.grad(loss, weight)
            norms[grower].append(float(gradient.norm()))
    assert norms["gradmax"][0] > max(norms["random"])


def test_unknown_growers_are_named() -> None:
    with pytest.raises(UserError, match="choose one of osg, firefly"):
        find_grower("fly")
