"""Small networks with lived-in weights and BatchNorm statistics, and batches to grow them on."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any, Callable, Iterator, List, Optional, Set, Tuple

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gearnn.config import GrowthConfig
from gearnn.growth.candidates import Offer, Task
from gearnn.growth.decision import GroupGrowth, GrowthDecision, Scores
from gearnn.growth.graph import ChannelGraph, trace_channels
from gearnn.growth.growers import GROWERS
from gearnn.growth.step import apply
from gearnn.losses import consistency_loss
from gearnn.models import create_model, scaled_widths


def _lived_in(model: nn.Module, seed: int) -> nn.Module:
    """BatchNorm scales, shifts and statistics away from their initial values, as after training."""
    generator = torch.Generator().manual_seed(seed)

    def uniform(tensor: Tensor, low: float, high: float) -> None:
        tensor.copy_(torch.rand(tensor.shape, generator=generator) * (high - low) + low)

    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, (nn.BatchNorm2d, nn.BatchNorm1d, nn.GroupNorm, nn.LayerNorm)):
                uniform(module.weight, 0.6, 1.2)
                uniform(module.bias, -0.2, 0.2)
            if isinstance(module, (nn.BatchNorm2d, nn.BatchNorm1d)):
                uniform(module.running_mean, -0.2, 0.2)
                uniform(module.running_var, 0.8, 1.2)
    return model.eval()


class _Bottleneck(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU())
        self.reduce = nn.Sequential(nn.Conv2d(16, 8, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU())
        self.middle = nn.Sequential(nn.Conv2d(8, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU())
        self.expand = nn.Sequential(nn.Conv2d(8, 32, 1, bias=False), nn.BatchNorm2d(32))
        self.shortcut = nn.Sequential(nn.Conv2d(16, 32, 1, 2, bias=False), nn.BatchNorm2d(32))
        self.head = nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = torch.relu(self.expand(self.middle(self.reduce(x))) + self.shortcut(x))
        return self.head(x.mean((2, 3)))


class _InvertedResidual(nn.Module):
    """MobileNet-V3's block: expansion, depthwise, squeeze-excite, projection."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.Hardswish())
        self.expand = nn.Sequential(nn.Conv2d(8, 24, 1, bias=False), nn.BatchNorm2d(24), nn.Hardswish())
        self.depthwise = nn.Sequential(nn.Conv2d(24, 24, 5, 1, 2, groups=24, bias=False), nn.BatchNorm2d(24), nn.Hardswish())
        self.squeeze, self.excite = nn.Conv2d(24, 8, 1), nn.Conv2d(8, 24, 1)
        self.project = nn.Sequential(nn.Conv2d(24, 8, 1, bias=False), nn.BatchNorm2d(8))
        self.head = nn.Linear(8, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        y = self.depthwise(self.expand(x))
        gate = self.excite(torch.relu(self.squeeze(F.adaptive_avg_pool2d(y, 1))))
        return self.head(F.adaptive_avg_pool2d(x + self.project(y * torch.sigmoid(gate)), 1).flatten(1))


class _Dense(nn.Module):
    """DenseNet: each layer reads the concatenation of all before it, through a BatchNorm of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        widths = (16, 24, 32)
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) for width in widths)
        self.convs = nn.ModuleList(nn.Conv2d(width, 8, 3, padding=1, bias=False) for width in widths)
        self.transition = nn.Sequential(nn.BatchNorm2d(40), nn.ReLU(), nn.Conv2d(40, 16, 1, bias=False), nn.AvgPool2d(2))
        self.head = nn.Linear(16 * 16 * 16, 10)

    def forward(self, x: Tensor) -> Tensor:
        found = [self.stem(x)]
        for norm, conv in zip(self.norms, self.convs):
            found.append(conv(torch.relu(norm(torch.cat(found, 1)))))
        x = self.transition(torch.cat(found, dim=1))
        return self.head(x.view(x.size(0), -1))


class _Branches(nn.Module):
    """Inception: branches of several depths, concatenated."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1), nn.ReLU(), nn.MaxPool2d(2))
        self.one = nn.Conv2d(16, 8, 1)
        self.three = nn.Sequential(nn.Conv2d(16, 8, 1), nn.ReLU(), nn.Conv2d(8, 16, 3, padding=1))
        self.pool = nn.Sequential(nn.MaxPool2d(3, 1, 1), nn.Conv2d(16, 8, 1))
        self.norm = nn.BatchNorm2d(32)
        self.last = nn.Conv2d(32, 24, 3, padding=1)
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(24 * 64, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 10))

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = torch.cat([self.one(x), self.three(x), self.pool(x)], dim=1)
        return self.head(F.relu(self.last(F.relu(self.norm(x)))))


class _Grouped(nn.Module):
    """ResNeXt's block: a grouped convolution in a residual branch."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU())
        self.reduce = nn.Sequential(nn.Conv2d(16, 16, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU())
        self.grouped = nn.Sequential(nn.Conv2d(16, 16, 3, 1, 1, groups=4, bias=False), nn.BatchNorm2d(16), nn.ReLU())
        self.expand = nn.Sequential(nn.Conv2d(16, 16, 1, bias=False), nn.BatchNorm2d(16))
        self.pool, self.head = nn.AdaptiveAvgPool2d(1), nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = F.relu(x + self.expand(self.grouped(self.reduce(x))))
        return self.head(torch.flatten(self.pool(x), 1))


class _GroupNorm(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.first_norm = nn.Conv2d(3, 16, 3, 2, 1), nn.GroupNorm(4, 16)
        self.second, self.second_norm = nn.Conv2d(16, 24, 3, 2, 1), nn.GroupNorm(3, 24)
        self.head = nn.Linear(24, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = F.silu(self.first_norm(self.first(x)))
        x = F.gelu(self.second_norm(self.second(x)))
        return self.head(x.mean([-2, -1]))


class _LayerNorm(nn.Module):
    """ConvNeXt's block: depthwise, LayerNorm over channels last, two linear layers."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 4, 4)
        self.depthwise = nn.Conv2d(16, 16, 7, padding=3, groups=16)
        self.norm = nn.LayerNorm(16)
        self.wide, self.narrow = nn.Linear(16, 32), nn.Linear(32, 16)
        self.last_norm, self.head = nn.LayerNorm(16), nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        y = self.norm(self.depthwise(x).permute(0, 2, 3, 1))
        y = self.narrow(F.gelu(self.wide(y))).permute(0, 3, 1, 2)
        return self.head(self.last_norm((x + y).mean((2, 3))))


_NETWORKS = {
    "bottleneck": _Bottleneck,
    "inverted_residual": _InvertedResidual,
    "dense": _Dense,
    "branches": _Branches,
    "grouped": _Grouped,
    "group_norm": _GroupNorm,
    "layer_norm": _LayerNorm,
}
"""Structurally different networks on (B, 3, 32, 32)."""


@pytest.fixture()
def small_network() -> Callable[[str], nn.Module]:
    """A network by name, in eval mode: one of ours at 1/16 width, or one of this file."""

    def make(name: str) -> nn.Module:
        torch.manual_seed(3)
        network = _NETWORKS[name]() if name in _NETWORKS else create_model(name, 10, scaled_widths(name, 1 / 16))
        return _lived_in(network, seed=4)

    return make


@pytest.fixture()
def images() -> Tensor:
    """Normalised images (16, 3, 32, 32)."""
    return torch.randn(16, 3, 32, 32, generator=torch.Generator().manual_seed(5))


@pytest.fixture()
def batches(images: Tensor) -> Callable[[int], Iterator[Tuple[Tensor, Tensor]]]:
    """Two batches of one view each, the same every epoch."""
    labels = torch.arange(16) % 10
    pairs: List[Tuple[Tensor, Tensor]] = [(images[None, :8], labels[:8]), (images[None, 8:], labels[8:])]
    return lambda epoch: iter(pairs)


NETWORK_NAMES = (*_NETWORKS, "vgg19", "mobilenet_v1", "resnet18")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test that asks for ``network_name`` runs on all ten networks."""
    if "network_name" in metafunc.fixturenames:
        metafunc.parametrize("network_name", NETWORK_NAMES)


@pytest.fixture()
def make_task(images: Tensor) -> Callable[..., Task]:
    """What a grower works on: a network with its graph, and 16 images in two batches, four at a time."""

    def make(model: nn.Module, given: Optional[Tensor] = None, **settings: Any) -> Task:
        x, labels = images if given is None else given, torch.arange(16) % 10
        pairs = [(x[None, :8], labels[:8]), (x[None, 8:], labels[8:])]
        config = GrowthConfig(**{"micro_batch": 4, **settings})
        graph = trace_channels(model, x[:1])
        return Task(model, graph, lambda epoch: iter(pairs), consistency_loss, config, torch.Generator().manual_seed(0))

    return make


@pytest.fixture()
def uneven() -> Callable[[ChannelGraph, Offer], GrowthDecision]:
    """A decision with splits and new neurons as the blocks allow: odd counts, single ones of pairs, and a group left alone."""

    def decide(graph: ChannelGraph, offer: Offer) -> GrowthDecision:
        groups = []
        for index, group in enumerate(graph.groups):
            scores = offer.scores[group.name]
            split = range(index % 2, len(scores.split) // group.block, 3)
            new = [block for block in ((0, 1, 4), (2,), (), (1, 2, 3, 6, 7))[index % 4] if block < len(scores.new) // group.block]
            if index % 4 == 2 and len(graph.groups) > 2:
                split = range(0)
            picks = [
                tuple(block * group.block + place for block in blocks for place in range(group.block)) for blocks in (split, new)
            ]
            after = group.width + len(picks[0]) + len(picks[1])
            groups.append(GroupGrowth(group.name, group.width, after, picks[0], picks[1], -1.0))
        return GrowthDecision(tuple(groups), (), "candidates")

    return decide


@pytest.fixture()
def error_of() -> Callable[[nn.Module, nn.Module, Tensor], float]:
    """The largest difference of two networks' outputs, relative to the largest output."""

    def measure(grown: nn.Module, model: nn.Module, x: Tensor) -> float:
        with torch.no_grad():
            expected, found = model(x), grown(x)
        assert expected.std() > 0.01 and torch.isfinite(found).all()
        return ((found - expected).abs().max() / expected.abs().max()).item()

    return measure


@pytest.fixture()
def learning() -> Callable[[nn.Module, Tensor], Set[str]]:
    """The parameters that a training step gives a gradient, all of them finite; of a copy, so that the network stays as it is."""

    def step(model: nn.Module, x: Tensor) -> Set[str]:
        trained = copy.deepcopy(model).train()
        trained(x).square().mean().backward()
        found = {name: parameter.grad for name, parameter in trained.named_parameters() if parameter.grad is not None}
        assert all(torch.isfinite(gradient).all() for gradient in found.values())
        return set(found)

    return step


@pytest.fixture()
def stays_itself(
    make_task: Callable[..., Task],
    uneven: Callable[[ChannelGraph, Offer], GrowthDecision],
    error_of: Callable[..., float],
    learning: Callable[..., Set[str]],
) -> Callable[..., None]:
    """Checks that a network with copies and silent new neurons in all groups of its graph computes what it did, and trains."""

    def check(model: nn.Module, x: Tensor) -> None:
        model.eval()
        task = make_task(model, x)
        copies, silent = (GROWERS[name].propose(task) for name in ("net2net", "random"))
        split = {name: torch.zeros_like(tensor) for name, tensor in copies.bank.split.items()}
        scores = {name: Scores(copies.scores[name].split, silent.scores[name].new) for name in copies.scores}
        offer = Offer(replace(silent.bank, split=split), scores, copies.splitting)
        grown = apply(task, offer, uneven(task.graph, offer), {}).model
        assert sum(p.numel() for p in grown.parameters()) > sum(p.numel() for p in model.parameters())
        assert error_of(grown, model, x) < 1e-5
        assert learning(grown, x) == learning(model, x)

    return check
