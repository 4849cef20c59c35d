"""A step of growth from network and budget to grown network, and that it keeps what it should."""

from __future__ import annotations

from typing import Any, Callable, List, Tuple

import pytest
import torch
from torch import Tensor, nn

from gearnn.config import Budget, GrowthConfig
from gearnn.device import full_precision
from gearnn.errors import UserError
from gearnn.growth.candidates import Offer, Task
from gearnn.growth.carry import carried_momentum, newborn_channels, newborn_weights, old_channels
from gearnn.growth.decision import GroupGrowth, GrowthDecision
from gearnn.growth.graph import ChannelGraph, Span, trace_channels
from gearnn.growth.growers import GROWERS
from gearnn.growth.step import apply, grow

Make = Callable[[str], nn.Module]
Decide = Callable[[ChannelGraph, Offer], GrowthDecision]


def _loader(images: Tensor) -> List[Tuple[Tensor, Tensor]]:
    """Images and labels as from a DataLoader, the last batch a small one."""
    labels = torch.arange(len(images), device=images.device) % 10
    return [(images[:9], labels[:9]), (images[9:], labels[9:])]


@pytest.mark.parametrize("grower", GROWERS)
@pytest.mark.parametrize("name", ["branches", "grouped", "layer_norm"])
def test_a_user_grows_a_network_of_their_own(
    name: str, grower: str, small_network: Make, images: Tensor, error_of: Callable[..., float]
) -> None:
    model = small_network(name)
    mixed = [module for number, module in enumerate(model.modules()) if number % 2]
    for module in mixed:
        module.training = True
    modes = [module.training for module in model.modules()]
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, 0.25)
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    present = sum(parameter.numel() for parameter in model.parameters())
    budget, config = Budget(params=int(1.8 * present)), GrowthConfig(micro_batch=8, new_candidates=16, round_to=4)
    growth = grow(model, _loader(images), budget, grower=grower, config=config, seed=1)
    assert [module.training for module in model.modules()] == modes
    assert [module.training for module in growth.model.modules()] == modes
    assert all((parameter.grad == 0.25).all() for parameter in model.parameters())
    assert all(torch.equal(tensor, before[key]) for key, tensor in model.state_dict().items())
    assert all(parameter.grad is None for parameter in growth.model.parameters())
    grown = sum(parameter.numel() for parameter in growth.model.parameters())
    assert present < grown <= budget.params
    assert growth.decision.usage[0].after == grown
    assert growth.fixed == trace_channels(model, images[:1]).fixed
    if GROWERS[grower].keeps_function:
        assert error_of(growth.model.eval(), model.eval(), images) < 1e-5


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("grower", GROWERS)
def test_a_network_grows_on_a_gpu(grower: str, small_network: Make, images: Tensor, error_of: Callable[..., float]) -> None:
    model, images = small_network("branches").cuda(), images.cuda()
    present = sum(parameter.numel() for parameter in model.parameters())
    budget, config = Budget(params=int(1.8 * present)), GrowthConfig(micro_batch=8, new_candidates=16, round_to=4)
    growth = grow(model, _loader(images), budget, grower=grower, config=config, seed=1)
    assert all(tensor.is_cuda for tensor in growth.model.state_dict().values())
    assert present < sum(parameter.numel() for parameter in growth.model.parameters()) <= budget.params
    if GROWERS[grower].keeps_function:
        with full_precision():
            assert error_of(growth.model.eval(), model.eval(), images) < 1e-5
    growth.model.train()(images).square().mean().backward()
    assert all(bool(parameter.grad.isfinite().all()) for parameter in growth.model.parameters() if parameter.grad is not None)


def test_growth_is_reproducible_and_its_seed_matters(small_network: Make, images: Tensor) -> None:
    model, budget, config = small_network("dense"), Budget(growth_ratio=0.5), GrowthConfig(new_candidates=8)
    state = torch.random.get_rng_state()
    first, again, other = (
        grow(model, _loader(images), budget, config=config, seed=seed).model.state_dict() for seed in (0, 0, 1)
    )
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(first[name].shape != other[name].shape or not torch.equal(first[name], other[name]) for name in first)


def test_what_cannot_be_grown_is_an_error(images: Tensor) -> None:
    frozen = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10))
    frozen[0].requires_grad_(False)
    with pytest.raises(UserError, match="no channels that can be grown .*0: 0 is frozen"):
        grow(frozen, _loader(images), Budget(growth_ratio=0.5))
    with pytest.raises(UserError, match="at least one batch"):
        grow(frozen, [], Budget(growth_ratio=0.5))


def test_what_is_measured_above_its_limit_is_measured_again(
    small_network: Make, images: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, limit = small_network("bottleneck"), 12 * 2**20
    found: List[float] = [2.0 * limit, 0.9 * limit]  # another program was at work
    monkeypatch.setattr("gearnn.budget.measured_memory", lambda *_: found.pop(0))
    growth = grow(model, _loader(images), Budget(train_memory=str(limit)))
    assert growth.checks[0].measured == 0.9 * limit and growth.remarks == () and not found


def test_growth_that_came_to_nothing_is_remarked_on(small_network: Make, images: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gearnn.budget.measured_memory", lambda *_: 1e12)
    model = small_network("bottleneck")
    growth = grow(model, _loader(images), Budget(train_memory="12MiB"))
    assert growth.decision.widths() == trace_channels(model, images[:1]).widths()
    assert len(growth.remarks) == 1 and "added no channels, though the prediction of training memory" in growth.remarks[0]


class Several(nn.Module):
    """A network that returns more than logits, or something else."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.first, self.second, self.classify = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3), nn.Linear(8, 4)

    def forward(self, images: Tensor) -> Any:
        features = self.second(self.first(images).relu()).relu()
        logits = self.classify(features.mean((2, 3)))
        kinds = {"tuple": (logits, features), "list": [logits, features], "dict": {"logits": logits, "features": features}}
        return {**kinds, "map": features, "flat": logits.flatten(), "none": None}[self.kind]


_SEVERAL = {"tuple": "a tuple", "list": "a list", "dict": "a dict", "flat": r"a tensor of shape \(64,\)", "none": "a NoneType"}


@pytest.mark.parametrize("kind", _SEVERAL)
def test_what_needs_a_loss_needs_logits_and_says_what_it_got(images: Tensor, kind: str) -> None:
    batches = [(images, torch.arange(len(images)) % 4)]
    told = f"returns {_SEVERAL[kind]} for 16 images, but a loss needs one tensor of logits"
    for grower in ("osg", "firefly", "gradmax"):
        with pytest.raises(UserError, match=f"{told}.* or grow with random"):
            grow(Several(kind), batches, Budget(growth_ratio=1.0), grower=grower)
    for grower in ("random", "variance_transfer", "net2net"):
        assert grow(Several(kind), batches, Budget(growth_ratio=1.0), grower=grower).decision.widths()["first"] == 16
        with pytest.raises(UserError, match=told):  # trains it, to see what that takes
            grow(Several(kind), batches, Budget(growth_ratio=1.0, train_memory="4MiB"), grower=grower)


def test_values_per_position_need_an_objective_that_takes_them(images: Tensor) -> None:
    batches, budget = [(images, torch.arange(len(images)) % 4)], Budget(growth_ratio=1.0)
    for grower in ("osg", "firefly", "gradmax"):
        with pytest.raises(UserError, match=r"shape \(16, 8, 28, 28\) .* or give an objective of your own"):
            grow(Several("map"), batches, budget, grower=grower)
        own = grow(Several("map"), batches, budget, grower=grower, objective=lambda found, labels: found.square().mean())
        assert own.decision.widths() == {"first": 16}


def test_a_lone_half_is_silent_and_its_pair_is_not(
    small_network: Make, make_task: Callable[..., Task], images: Tensor, error_of: Callable[..., float]
) -> None:
    """Decisions may be tried one after the other on one offer: with a half alone first, then with both."""
    model = small_network("branches")
    task = make_task(model)
    offer = GROWERS["variance_transfer"].propose(task)

    def grown(new: Tuple[int, ...]) -> nn.Module:
        groups = [GroupGrowth(g.name, g.width, g.width + len(new), (), new, 0.0) for g in task.graph.groups]
        return apply(task, offer, GrowthDecision(tuple(groups), (), ""), {}).model

    lone, both = grown((0,)), grown((0, 1))
    assert not lone.head[4].weight[:, 32:].any()
    first, second = both.head[4].weight[:, 32:].t()
    assert torch.equal(first, -second) and first.abs().max() > 0
    for network in (lone, both):
        assert error_of(network, model, images) < 1e-5


def test_variance_transfer_pairs_cancel_in_blocks(small_network: Make, make_task: Callable[..., Task]) -> None:
    task = make_task(small_network("grouped"), new_candidates=16)
    bank = GROWERS["variance_transfer"].propose(task).bank
    rows, filters, columns = bank.new_rows["reduce.0"], bank.new_filters["grouped.0", "reduce.0"], bank.new_columns
    for start in (0, 8):
        assert torch.equal(rows[start : start + 4], rows[start + 4 : start + 8])
        assert torch.equal(filters[start : start + 4], filters[start + 4 : start + 8])
        read = columns["expand.0", "reduce.0"][:, start : start + 8]
        assert torch.equal(read[:, :4], -read[:, 4:])
    assert not torch.equal(rows[0], rows[1])
    assert rows.std() == pytest.approx(task.weight("reduce.0").std().item(), rel=0.3)


def test_net2net_copies_and_halves(small_network: Make, make_task: Callable[..., Task]) -> None:
    model = small_network("branches")
    task = make_task(model)
    offer = GROWERS["net2net"].propose(task)
    groups = [GroupGrowth(g.name, g.width, g.width + 1, (3,), (), 0.0) for g in task.graph.groups]
    grown = apply(task, offer, GrowthDecision(tuple(groups), (), ""), {}).model
    old, new = model.three[2].weight, grown.three[2].weight
    torch.testing.assert_close(new[:16, :8][:, :3], old[:, :3])
    torch.testing.assert_close(new[:16, 3], old[:, 3] / 2)
    torch.testing.assert_close(new[:16, 8], old[:, 3] / 2)
    noise = new[16, :8] - new[3, :8]
    assert 0 < noise.abs().max() < 0.06 * old.std()
    assert torch.equal(grown.norm.running_mean[-1], model.norm.running_mean[8 + 16 + 3])  # the last branch's copy


class _WithExtras(nn.Module):
    """Tied weights and a buffer that is not saved, beside what grows."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 8, 3, 2), nn.Conv2d(8, 6, 1)
        self.one, self.two = nn.Linear(6, 6, bias=False), nn.Linear(6, 6, bias=False)
        self.two.weight = self.one.weight
        self.register_buffer("shift", torch.ones(1), persistent=False)
        self.head = nn.Linear(6, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.second(torch.relu(self.first(x) + self.shift)).mean((2, 3))
        return self.head(self.two(torch.relu(self.one(x))))


def test_what_does_not_grow_stays_as_it_is(images: Tensor, make_task: Callable[..., Task], uneven: Decide) -> None:
    torch.manual_seed(0)
    model = _WithExtras().eval()
    task = make_task(model)
    assert [group.name for group in task.graph.groups] == ["first"]
    offer = GROWERS["random"].propose(task)
    grown = apply(task, offer, uneven(task.graph, offer), {}).model
    assert grown.two.weight is grown.one.weight and grown.one.weight is not model.one.weight
    assert torch.equal(grown.shift, torch.ones(1))
    torch.testing.assert_close(grown(images), model(images))


def test_channels_are_found_span_by_span() -> None:
    spans, widths = (Span("a", 2), Span(None, 1), Span("b", 3)), {"a": 4, "b": 5}
    assert old_channels(spans, widths).tolist() == [0, 1, 4, 5, 6, 7]
    assert newborn_channels(spans, "a", widths).tolist() == [2, 3]
    assert newborn_channels(spans, "b", widths).tolist() == [8, 9]
    with pytest.raises(KeyError):
        newborn_channels(spans, "c", widths)


def test_old_weights_keep_their_momentum_wherever_they_went(
    network_name: str, small_network: Make, make_task: Callable[..., Task], uneven: Decide
) -> None:
    """Momentum that is each weight's own value must come out where that value is; all else is newborn and at rest."""
    model = small_network(network_name)
    task = make_task(model, new_candidates=8)
    offer = GROWERS["random"].propose(task)  # leaves all existing weights as they are
    decision = uneven(task.graph, offer)
    weights = {name: parameter.detach().double() for name, parameter in model.named_parameters()}
    grown = apply(task, offer, decision, {}).model
    carried = carried_momentum(task.graph, weights, grown, decision.widths())
    newborn = newborn_weights(task.graph, grown, decision.widths())
    for name, parameter in grown.named_parameters():
        mask = newborn.get(name, torch.zeros(parameter.shape, dtype=torch.bool))
        assert carried[name].dtype == torch.float64 and int((~mask).sum()) == weights[name].numel()
        assert torch.equal(carried[name][~mask].float(), parameter[~mask])
        assert not carried[name][mask].any()
    assert len(newborn) > 2
