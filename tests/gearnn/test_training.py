"""The training loop's pieces."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from gearnn.config import Optimizer, RunConfig
from gearnn.data import Dataset
from gearnn.era import ERA
from gearnn.errors import UserError
from gearnn.models import Normalize
from gearnn.training import Amp, Feed, accuracy, by_steps, learning_rate, make_optimizer, momentum_of, train_epoch

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
