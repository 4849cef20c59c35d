"""GradMax's directions are the steepest there are."""

from __future__ import annotations

from typing import Any, Callable, Tuple

import pytest
import torch
from torch import Tensor, nn

from gearnn.growth.candidates import Task, first_batches
from gearnn.growth.gradmax import _moments, gradmax


class _Linear(nn.Module):
    """Two layers without anything between them, and a head; ``kind`` says which layers and where channels lie."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.kind = kind
        if kind in ("conv", "strided"):
            options: Any = {"stride": 2, "dilation": 2, "padding": 1} if kind == "strided" else {"padding": "same"}
            self.first, self.second = nn.Conv2d(3, 6, 3, **options), nn.Conv2d(6, 5, 3, 2, 1)
        else:
            self.first = nn.Conv2d(3, 6, 2, 2) if kind == "flatten" else nn.Linear(3, 6)
            self.second = nn.Linear(6 * 64 if kind == "flatten" else 6, 5)
        self.head = nn.Linear(5, 10)

    def forward(self, x: Tensor) -> Tensor:
        if self.kind in ("conv", "strided"):
            return self.head(self.second(self.first(x)).mean((2, 3)))
        if self.kind == "flatten":
            return self.head(self.second(self.first(x).flatten(1)))
        x = x.permute(0, 2, 3, 1) if self.kind == "last" else x.flatten(2).transpose(1, 2)
        x = self.second(self.first(x))
        return self.head(torch.tanh(x).mean((1, 2) if self.kind == "last" else 1))


def _gradient(model: nn.Module, task: Task, row: Tensor) -> Tensor:
    """By the outgoing weights of a neuron with these incoming weights, which nothing reads yet."""
    first, second = model.first, model.second
    wide = type(first)(**_options(first, out=7)) if isinstance(first, nn.Conv2d) else nn.Linear(3, 7)
    features = second.weight.shape[1] // 6
    read = nn.Conv2d(7, 5, 3, 2, 1) if isinstance(second, nn.Conv2d) else nn.Linear(7 * features, 5)
    with torch.no_grad():
        wide.weight.copy_(torch.cat([first.weight, row.view_as(first.weight[:1])]))
        wide.bias.copy_(torch.cat([first.bias, torch.zeros(1)]))
        read.weight.zero_()
        read.weight[:, : 6 * features] = second.weight
        read.bias.copy_(second.bias)
    grown = _Linear(model.kind)
    grown.first, grown.second, grown.head = wide, read, model.head
    loss = torch.stack([task.objective(grown(views[0])[None], labels) for views, labels in first_batches(task)]).sum()
    (found,) = torch.autograd.grad(loss, read.weight)
    return found[:, 6 * features :].flatten()


def _options(conv: nn.Conv2d, out: int) -> Any:
    return {
        "in_channels": 3,
        "out_channels": out,
        "kernel_size": conv.kernel_size,
        "stride": conv.stride,
        "padding": conv.padding,
        "dilation": conv.dilation,
    }


@pytest.mark.parametrize("kind", ["conv", "strided", "flatten", "last", "tokens"])
def test_singular_vectors_maximise_the_gradient(kind: str, make_task: Callable[..., Task], images: Tensor) -> None:
    model = _Linear(kind)
    task = make_task(model, images[:, :, ::2, ::2])
    assert task.graph.groups[0].producers == ("first",)
    moment = _moments(task, [("first", "second")])["first", "second"]
    rows = gradmax(task).bank.new_rows["first"].flatten(1)
    rows = rows / rows.norm(dim=1, keepdim=True)
    generator = torch.Generator().manual_seed(1)
    others = nn.functional.normalize(torch.randn(20, rows.shape[1], generator=generator), dim=1)
    for row in (rows[0], rows[1], others[0]):  # M says what the gradient will be
        expected = _gradient(model, task, row)
        torch.testing.assert_close((row @ moment).norm(), expected.norm(), rtol=1e-3, atol=1e-6)
    norms = [_gradient(model, task, row).norm().item() for row in (*rows[:3], *others)]
    assert norms[0] > 0 and norms[0] >= norms[1] >= norms[2]
    assert norms[0] >= max(norms[3:])


def test_the_given_network_is_left_alone(small_network: Callable[[str], nn.Module], make_task: Callable[..., Task]) -> None:
    model = small_network("branches")
    hooks: Callable[[], Tuple[int, ...]] = lambda: tuple(  # noqa: E731
        len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules()
    )
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, 0.25)
    before, hooked = {name: tensor.clone() for name, tensor in model.state_dict().items()}, hooks()
    gradmax(make_task(model))
    assert all((parameter.grad == 0.25).all() for parameter in model.parameters())
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert hooks() == hooked
