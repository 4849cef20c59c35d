"""The training loop's pieces."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from torch import nn

from gearnn.config import Optimizer, RunConfig
from gearnn.data import Dataset
from gearnn.era import ERA
from gearnn.errors import UserError
from gearnn.models import Normalize
from gearnn.phases import Course
from gearnn.training import Amp, Feed, Newborn, accuracy, by_steps, learning_rate, make_optimizer, momentum_of, train_epoch

CPU = torch.device("cpu")


def _feed(dataset: Dataset, views: int = 1, key: int = 5) -> Feed:
    return Feed(dataset.train, ERA(views=views, pad=1, mean=dataset.mean, std=dataset.std), 32, key, CPU)


def test_batches_are_normalised_views_of_shuffled_images(tiny_dataset: Dataset) -> None:
    batches = list(_feed(tiny_dataset, views=3).batches(0))
    assert len(batches) == 3
    views, labels = batches[0]
    assert views.shape == (3, 32, 1, 16, 16)
    assert views.dtype == torch.float32
    clean = torch.cat([batch[0][0] for batch in batches])
    assert abs(clean.mean().item()) < 0.5
    assert 0.5 < clean.std().item() < 2
    assert not torch.equal(labels, torch.from_numpy(tiny_dataset.train.labels[:32]))
    assert sorted(torch.cat([batch[1] for batch in batches]).tolist()) == sorted(tiny_dataset.train.labels.tolist())


def test_batches_depend_on_key_and_epoch_alone(tiny_dataset: Dataset) -> None:
    def images(key: int, epoch: int) -> torch.Tensor:
        return torch.cat([views for views, _ in _feed(tiny_dataset, views=2, key=key).batches(epoch)], dim=1)

    assert torch.equal(images(5, 1), images(5, 1))
    assert not torch.equal(images(5, 1), images(5, 2))
    assert not torch.equal(images(5, 1), images(6, 1))


def test_learning_rate_warms_up_and_falls_along_a_cosine() -> None:
    config = Optimizer(learning_rate=0.2, warmup_epochs=1.0)
    rates = [learning_rate(config, step, 10, by_steps(100)) for step in range(100)]
    assert rates[0] == pytest.approx(0.02)
    assert max(rates) == rates[9]
    assert rates[50] == pytest.approx(0.1)
    assert rates[99] < 1e-3
    assert learning_rate(dataclasses.replace(config, warmup_epochs=0.0), 0, 10, by_steps(100)) == pytest.approx(0.2)


def test_optimizer_starts_from_the_given_momentum() -> None:
    torch.manual_seed(0)
    model = nn.Linear(3, 2)
    momentum = {"weight": torch.randn(2, 3), "bias": torch.randn(2)}
    optimizer = make_optimizer(model, Optimizer(weight_decay=0.0), momentum)
    assert torch.equal(momentum_of(model, optimizer)["bias"], momentum["bias"])
    before, gradient = model.bias.detach().clone(), torch.tensor([0.5, -1.0])
    model.weight.grad, model.bias.grad = torch.zeros(2, 3), gradient
    optimizer.step()
    moved = 0.9 * momentum["bias"] + gradient
    torch.testing.assert_close(model.bias.detach(), before - 0.1 * (gradient + 0.9 * moved))


def test_an_epoch_learns(tiny_dataset: Dataset) -> None:
    torch.manual_seed(0)
    layers = (nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3))
    model = nn.Sequential(*layers)
    feed, config = _feed(tiny_dataset, views=2), Optimizer(batch_size=32)
    optimizer, steps = make_optimizer(model, config, {}), []
    first = train_epoch(model, optimizer, Amp(CPU, {}), feed, config, 0, 8, lambda done, total: steps.append((done, total)))
    for epoch in range(1, 8):
        last = train_epoch(model, optimizer, Amp(CPU, {}), feed, config, epoch, 8, lambda done, total: None)
    assert steps == [(1, 3), (2, 3), (3, 3)]
    assert last.loss < first.loss
    assert last.images == 96
    assert accuracy(model, tiny_dataset.test, Normalize(tiny_dataset.mean, tiny_dataset.std), CPU) > 0.6


def test_a_diverging_loss_says_how_to_go_on(tiny_dataset: Dataset, tiny_config: RunConfig) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(256, 3))
    nn.init.constant_(model[1].weight, float("inf"))
    feed = _feed(tiny_dataset)
    optimizer = make_optimizer(model, tiny_config.optimizer, {})
    with pytest.raises(UserError, match="new run, in another --out, with a lower --optimizer.learning-rate"):
        train_epoch(model, optimizer, Amp(CPU, {}), feed, tiny_config.optimizer, 0, 1, lambda done, total: None)


def test_accuracy_counts(tiny_dataset: Dataset) -> None:
    class Oracle(nn.Module):
        """Always says class 0."""

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return torch.tensor([1.0, 0.0, 0.0]).repeat(len(images), 1)

    share = float(np.mean(tiny_dataset.test.labels == 0))
    assert accuracy(Oracle(), tiny_dataset.test, nn.Identity(), CPU, batch_size=7) == pytest.approx(share)


def test_some_images_can_be_chosen(tiny_dataset: Dataset) -> None:
    chosen = np.arange(3, 96, 2)
    feed = dataclasses.replace(_feed(tiny_dataset), chosen=chosen, batch_size=16)
    assert feed.steps() == 2
    labels = torch.cat([labels for _, labels in feed.batches(0)]).numpy()
    assert len(labels) == 32
    assert np.bincount(labels).sum() <= np.bincount(tiny_dataset.train.labels[chosen]).sum()
    assert {int(i) % 2 for i in chosen} == {1}
    model = nn.Sequential(nn.Flatten(), nn.Linear(256, 3))
    half = accuracy(model, tiny_dataset.test, nn.Identity(), CPU, chosen=np.arange(0, 15))
    other = accuracy(model, tiny_dataset.test, nn.Identity(), CPU, chosen=np.arange(15, 30))
    assert (half + other) / 2 == pytest.approx(accuracy(model, tiny_dataset.test, nn.Identity(), CPU))


def test_a_pace_can_end_a_phase_within_an_epoch(tiny_dataset: Dataset) -> None:
    def steps_taken(last: int) -> int:
        model = nn.Sequential(nn.Flatten(), nn.Linear(256, 3))
        optimizer = make_optimizer(model, Optimizer(), {})
        arguments = (model, optimizer, Amp(CPU, {}), _feed(tiny_dataset), Optimizer(), 0, 9, lambda done, total: None)
        return train_epoch(*arguments, pace=lambda step: step / last).images // 32

    assert [steps_taken(last) for last in (1, 2, 3, 50)] == [1, 2, 3, 3]


def test_newborn_weights_have_a_rate_of_their_own_for_a_while() -> None:
    model = nn.Linear(2, 2)
    mask = torch.tensor([[False, True], [True, True]])

    def gradients(step: int) -> torch.Tensor:
        model.weight.grad, model.bias.grad = torch.ones(2, 2), torch.ones(2)
        Newborn({"weight": mask}, 3.0, 10).scale(model, step)
        assert torch.equal(model.bias.grad, torch.ones(2))
        return model.weight.grad

    assert torch.equal(gradients(0), torch.tensor([[1.0, 3.0], [3.0, 3.0]]))
    torch.testing.assert_close(gradients(5), torch.tensor([[1.0, 2.0], [2.0, 2.0]]))
    assert torch.equal(gradients(10), torch.ones(2, 2))
    assert torch.equal(gradients(99), torch.ones(2, 2))


def test_a_rate_can_stay_up_after_warming_up_and_need_not_warm_up() -> None:
    settings, pace = Optimizer(learning_rate=1.0, warmup_epochs=1.0), by_steps(40)

    def rates(course: Course) -> list:
        return [learning_rate(settings, step, 10, pace, course) for step in (0, 4, 20, 39)]

    assert rates(Course(warms_up=True, falls=False)) == pytest.approx([0.1, 0.5, 1.0, 1.0])
    falling = [0.5 * (1 + math.cos(math.pi * step / 40)) for step in (0, 4, 20, 39)]
    assert rates(Course(warms_up=False, falls=True)) == pytest.approx(falling)
