"""Candidates learn, and their scores are what they say: derivatives of the loss."""

from __future__ import annotations

from typing import Callable, Dict, Iterator, Tuple

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from gearnn.config import GrowthConfig
from gearnn.errors import UserError
from gearnn.growth.candidates import Task, chosen_layouts
from gearnn.growth.decision import GroupGrowth, GrowthDecision, Scores
from gearnn.growth.firefly import SPLITTING, _propose, _score, _train, firefly
from gearnn.growth.graph import ChannelGraph, trace_channels
from gearnn.growth.surgery import Bank, Layout, widened_model, widened_shell, widened_state

Objective = Callable[[Tensor, Tensor], Tensor]
NAMES = ["vgg19", "mobilenet_v1", "resnet18", "dense", "inverted_residual"]
EXAMPLE = torch.zeros(1, 3, 32, 32)


def objective(logits: Tensor, labels: Tensor) -> Tensor:
    return F.cross_entropy(logits[0], labels)


def task_of(model: nn.Module, graph: ChannelGraph, batches: Callable, loss_of: Objective = objective, **given: float) -> Task:
    """Given a network and its data; scoring looks at epoch 1."""
    return Task(model, graph, batches, loss_of, GrowthConfig(**given), torch.Generator().manual_seed(0))  # type: ignore[arg-type]


def _layouts(graph: ChannelGraph, bank: Bank, scales: Dict[str, Tuple[Tensor, Tensor]]) -> Dict[str, Layout]:
    """Every neuron as it is and as two halves, with a scale that fades from one to the other; every new neuron with its scale."""
    layouts = {}
    for group in graph.groups:
        split, new = scales[group.name]
        old, ones = torch.arange(group.width), torch.ones(group.width)
        source = torch.cat([old, old, old, group.width + torch.arange(len(new))])
        sign = torch.cat([0 * ones, ones, -ones, torch.zeros(len(new))])
        layouts[group.name] = Layout(source, sign, torch.cat([1 - split, split / 2, split / 2, new]))
    return layouts


def _scales(graph: ChannelGraph, bank: Bank) -> Dict[str, Tuple[Tensor, Tensor]]:
    counts = {group.name: len(bank.new_rows[group.producers[0]]) for group in graph.groups}
    return {
        group.name: tuple(torch.zeros(n, dtype=torch.float64, requires_grad=True) for n in (group.width, counts[group.name]))
        for group in graph.groups
    }  # type: ignore[return-value]


def by_autograd(model: nn.Module, graph: ChannelGraph, bank: Bank, batches: Callable, loss_of: Objective) -> Dict[str, Scores]:
    """The scores by their definition: torch's derivative of the loss by each candidate's scale, in float64."""
    scales = _scales(graph, bank)
    shell = widened_shell(model, graph, _layouts(graph, bank, scales)).eval()
    pairs = list(batches(0))
    for views, labels in pairs:
        state = widened_state(model, graph, bank, _layouts(graph, bank, scales))
        logits = functional_call(shell, state, (views.flatten(0, 1),)).unflatten(0, views.shape[:2])
        (loss_of(logits, labels) / len(pairs)).backward()
    return {name: Scores(split.grad, new.grad) for name, (split, new) in scales.items()}


def doubled(bank: Bank, scale: float = 1.0) -> Bank:
    return Bank(*({place: tensor.double() * scale for place, tensor in part.items()} for part in vars(bank).values()))


@pytest.mark.parametrize("name", NAMES)
def test_scores_are_the_derivative_of_the_loss(name: str, small_network: Callable[[str], nn.Module], images: Tensor) -> None:
    """Fading a candidate in by y changes the loss by score · y to first order: splits and new neurons, by finite differences."""
    model = small_network(name).double()
    graph = trace_channels(model, EXAMPLE.double())
    labels = torch.arange(16) % 10
    task = task_of(model, graph, lambda epoch: [(images.double()[None], labels)])
    bank = doubled(_propose(task), 10)
    scores = _score(task, bank)
    group = graph.groups[min(2, len(graph.groups) - 1)]

    def loss_with(kind: int, neuron: int, scale: float) -> float:
        scales = _scales(graph, bank)
        with torch.no_grad():
            scales[group.name][kind][neuron] = scale
            layouts = _layouts(graph, bank, scales)
            return objective(widened_model(model, graph, bank, layouts)(images.double())[None], labels).item()

    step = 1e-6
    for kind, found in enumerate((scores[group.name].split, scores[group.name].new)):
        for neuron in (int(found.abs().argmax()), 0, 3):
            slope = (loss_with(kind, neuron, step) - loss_with(kind, neuron, -step)) / (2 * step)
            assert found[neuron].item() == pytest.approx(slope, rel=3e-3, abs=1e-8)  # kinks are crossed
        assert found.abs().max() > 1e-5
    assert objective(model(images.double())[None], labels).item() == pytest.approx(loss_with(0, 0, 0.0), rel=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_scores_are_those_of_autograd(name: str, small_network: Callable[[str], nn.Module], batches: Callable) -> None:
    model = small_network(name)
    graph = trace_channels(model, EXAMPLE)
    task = task_of(model, graph, batches)
    bank = _propose(task)
    single = _score(task, bank)
    model, bank = model.double(), doubled(bank)

    def wide(epoch: int) -> Iterator[Tuple[Tensor, Tensor]]:
        return ((views.double(), labels) for views, labels in batches(epoch))

    found = _score(task_of(model, graph, wide), bank)
    expected = by_autograd(model, graph, bank, wide, objective)
    everything = [one for scores in expected.values() for one in (scores.split, scores.new)]
    largest = max(one.abs().max().item() for one in everything)
    for group in graph.groups:
        for kind in ("split", "new"):
            reference = getattr(expected[group.name], kind)
            torch.testing.assert_close(getattr(found[group.name], kind), reference, rtol=1e-9, atol=1e-13 * largest)
            torch.testing.assert_close(getattr(single[group.name], kind), reference, rtol=1e-3, atol=1e-5 * largest)


class _Flattening(nn.Module):
    """Hidden and flattening linear layers, with biases, and a convolution with circular padding."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, padding=1)
        self.second = nn.Conv2d(4, 5, 3, padding=1, stride=2, padding_mode="circular")
        self.hidden = nn.Linear(5 * 16, 6)
        self.head = nn.Linear(6, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.second(torch.relu(self.first(x))))
        return self.head(torch.relu(self.hidden(torch.flatten(x, 1))))


def test_any_layer_that_reads_channels_is_scored(images: Tensor) -> None:
    torch.manual_seed(0)
    model = _Flattening().double()
    graph = trace_channels(model, images.double()[:1, :, ::4, ::4])
    assert [group.consumers for group in graph.groups] == [("second",), ("hidden",), ("head",)]
    pairs = [(images.double()[None, :, :, ::4, ::4], torch.arange(16) % 10)]
    task = task_of(model, graph, lambda epoch: pairs)
    bank = doubled(_propose(task), 10)
    found = _score(task, bank)
    expected = by_autograd(model, graph, bank, lambda epoch: pairs, objective)
    for name, scores in expected.items():
        for kind in ("split", "new"):
            assert getattr(scores, kind).abs().max() > 1e-6
            torch.testing.assert_close(getattr(found[name], kind), getattr(scores, kind), rtol=1e-9, atol=1e-12)


def test_training_candidates_lowers_the_loss_and_leaves_the_network_alone(
    small_network: Callable[[str], nn.Module], batches: Callable, images: Tensor
) -> None:
    model = small_network("branches")
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    graph = trace_channels(model, EXAMPLE)
    task = task_of(model, graph, batches, epochs=8, learning_rate=3e-3)
    bank = _propose(task)
    untrained = {layer: tensor.clone() for layer, tensor in bank.split.items()}
    _train(task, bank)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert any(not torch.equal(tensor, untrained[layer]) for layer, tensor in bank.split.items())
    everything = tuple(
        GroupGrowth(g.name, g.width, 0, tuple(range(g.width)), tuple(range(len(bank.new_rows[g.producers[0]]))), 0.0)
        for g in graph.groups
    )
    layouts = chosen_layouts(graph, GrowthDecision(everything, (), ""), SPLITTING, torch.device("cpu"))
    labels = torch.arange(16) % 10
    grown_loss = objective(widened_model(model, graph, bank, layouts)(images)[None], labels)
    assert grown_loss < objective(model(images)[None], labels) - 0.5


def test_split_scores_see_the_curvature(small_network: Callable[[str], nn.Module], batches: Callable) -> None:
    model = small_network("vgg19")
    graph = trace_channels(model, EXAMPLE)
    task = task_of(model, graph, batches)
    bank = _propose(task)
    splits = torch.cat([score.split for score in _score(task, bank).values()])
    assert splits.isfinite().all()
    assert splits.abs().max() > 1e-6
    still = Bank({k: torch.zeros_like(v) for k, v in bank.split.items()}, bank.new_rows, bank.new_columns, bank.new_filters)
    assert max(score.split.abs().max() for score in _score(task, still).values()) < 1e-6


def test_a_diverging_loss_is_an_error(small_network: Callable[[str], nn.Module], batches: Callable) -> None:
    model = small_network("vgg19")
    graph = trace_channels(model, EXAMPLE)
    with pytest.raises(UserError, match="not finite"):
        firefly(task_of(model, graph, batches, lambda logits, labels: logits.sum() * float("nan")))
