"""Training that runs away goes back to the last good epoch at half the learning rate."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any, Dict, List, Tuple

import pytest
import torch
from torch import nn

from gearnn import accumulation
from gearnn import trainer as trainer_module
from gearnn.checkpoint import Progression, State, checkpoint_path, load_checkpoint, load_state, network_path
from gearnn.config import Epochs, Optimizer, RunConfig
from gearnn.data import Dataset
from gearnn.errors import DivergedError, UserError
from gearnn.network import Card, load_network
from gearnn.phases import phases_of
from gearnn.progress import no_progress
from gearnn.recovery import check_epoch
from gearnn.trainer import Trainer

CPU = torch.device("cpu")


class PowerCutError(Exception):
    """The plug was pulled."""


def _state(losses: Tuple[float, ...] = (), phase: str = "era") -> State:
    rows: List[Dict[str, Any]] = [{"phase": phase, "loss": loss} for loss in losses]
    card = Card("vgg19", (8,), ("a",), (0.5,), (0.5,), 8, 1)
    return State(nn.BatchNorm1d(3), {}, {}, card, Progression(metrics=rows, epoch=len(losses)))


@pytest.mark.parametrize(
    ("loss", "losses", "runs_away"),
    [
        (2.4, (), False),  # guessing
        (40.0, (), False),  # a wild first epoch
        (47.0, (), True),  # 20 log 10 = 46.05
        (3.0, (0.01, 0.001), False),  # a small loss is noisy: 3000 times the best, and yet no worse than guessing
        (90.0, (5.0, 6.0), False),
        (101.0, (6.0, 5.0), True),
        (math.inf, (1.0,), True),
    ],
)
def test_what_counts_as_running_away(loss: float, losses: Tuple[float, ...], runs_away: bool) -> None:
    if not runs_away:
        check_epoch(loss, _state(losses), "era", 10)
        return
    with pytest.raises(DivergedError, match=f"in epoch {len(losses) + 1}, more than 20 times"):
        check_epoch(loss, _state(losses), "era", 10)


def test_the_best_is_that_of_the_phase() -> None:
    with pytest.raises(DivergedError):
        check_epoch(80.0, _state((50.0,), "seed"), "era", 10)
    check_epoch(80.0, _state((50.0,), "era"), "era", 10)


def test_weights_and_statistics_must_be_finite() -> None:
    for name in ("weight", "running_var"):
        state = _state()
        state.model.state_dict()[name][1] = math.nan
        with pytest.raises(DivergedError, match=f"{name} stopped being finite in epoch 1"):
            check_epoch(1.0, state, "era", 10)


def _config(config: RunConfig, **options: Any) -> RunConfig:
    return dataclasses.replace(config, **{"method": "fixed", "epochs": Epochs(seed=1, era=3), **options})


def _runs_away_at(monkeypatch: pytest.MonkeyPatch, epoch: int, rate_above: float, phase_views: int = 3) -> List[float]:
    """The loss is not a number in the last step of that epoch of robust training, as long as the learning rate is that high."""
    real_epoch, real_loss, rates = trainer_module.train_epoch, accumulation.consistency_loss, []
    steps, present = [0], [0, 1.0]

    def train_epoch(*arguments: Any, **options: Any) -> Any:
        present[:], steps[0] = [arguments[5], options["scale"]], 0
        rates.append(options["scale"])
        return real_epoch(*arguments, **options)

    def loss(logits: torch.Tensor, labels: torch.Tensor, weight: float) -> torch.Tensor:
        steps[0] += 1
        found = real_loss(logits, labels, weight=weight)
        away = len(logits) == phase_views and present[0] == epoch and steps[0] == 3 and present[1] > rate_above
        return found * math.nan if away else found

    monkeypatch.setattr(trainer_module, "train_epoch", train_epoch)
    monkeypatch.setattr(accumulation, "consistency_loss", loss)
    return rates


def _weights(folder: Path) -> Dict[str, torch.Tensor]:
    return load_network(network_path(folder, "robust"))[0].state_dict()


def test_back_to_the_last_good_epoch_at_half_the_rate(
    tiny_dataset: Dataset, tiny_config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = _config(tiny_config)
    rates = _runs_away_at(monkeypatch, 1, rate_above=0.3)
    trainer = Trainer.start(config, tiny_dataset, phases_of(config), tmp_path / "whole", CPU, no_progress)
    trainer.work()
    assert rates == [1, 1, 1, 0.5, 0.25, 0.25]
    rows = [json.loads(line) for line in (tmp_path / "whole" / "metrics.jsonl").read_text().splitlines()]
    assert [(row["phase"], row["epoch"]) for row in rows] == [("clean", 1), ("era", 1), ("era", 2), ("era", 3)]
    first, second = trainer.state.progression.remarks
    assert "ran away in phase era (the loss became nan at step 3 of epoch 2): it went back to the last good epoch" in first
    assert "times 0.5 from" in first
    assert "times 0.25 from" in second

    # Killed in the epoch that runs away, in the one after, and at once after a checkpoint: the same bits.
    for cut in (("era", 5), ("era", 4), ("era", 8)):

        def progress(label: str, done: int, total: int, cut: Tuple[str, int] = cut) -> None:
            if (label, done) == cut:
                raise PowerCutError

        begin = Trainer.resume if checkpoint_path(tmp_path / "cut").exists() else Trainer.start
        with pytest.raises(PowerCutError):
            begin(config, tiny_dataset, phases_of(config), tmp_path / "cut", CPU, progress).work()
    assert load_state(tmp_path / "cut").progression.rollbacks == 2
    resumed = Trainer.resume(config, tiny_dataset, phases_of(config), tmp_path / "cut", CPU, no_progress)
    resumed.work()
    assert resumed.state.progression.remarks == trainer.state.progression.remarks
    for name, tensor in _weights(tmp_path / "whole").items():
        assert torch.equal(_weights(tmp_path / "cut")[name], tensor), name


def test_the_half_rate_is_what_the_network_learns_at(
    tiny_dataset: Dataset, tiny_config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that runs away in its first epoch begins anew: as if it had been started at half the rate."""
    config = _config(tiny_config, epochs=Epochs(seed=0, era=2))
    half = dataclasses.replace(config, optimizer=dataclasses.replace(config.optimizer, learning_rate=0.025))
    Trainer.start(half, tiny_dataset, phases_of(half), tmp_path / "half", CPU, no_progress).work()
    _runs_away_at(monkeypatch, 0, rate_above=0.6)
    Trainer.start(config, tiny_dataset, phases_of(config), tmp_path / "back", CPU, no_progress).work()
    for name, tensor in _weights(tmp_path / "half").items():
        assert torch.equal(_weights(tmp_path / "back")[name], tensor), name


@pytest.mark.parametrize("most", [0, 2])
def test_after_so_many_times_it_stops_at_the_last_good_epoch(
    most: int, tiny_dataset: Dataset, tiny_config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = _config(tiny_config, max_rollbacks=most)
    _runs_away_at(monkeypatch, 1, rate_above=0.2)
    sentence = rf"ran away in phase era.*nan at step 3 of epoch 2.*: look at the images, go on .* --max-rollbacks {most + 3},"
    with pytest.raises(UserError, match=sentence) as stopped:
        Trainer.start(config, tiny_dataset, phases_of(config), tmp_path, CPU, no_progress).work()
    assert ("after its rate was halved 2 times" in str(stopped.value)) is (most == 2)
    saved = load_checkpoint(checkpoint_path(tmp_path)).progression
    assert (saved.phase, saved.epoch, saved.rollbacks) == (1, 1, most)
    more = dataclasses.replace(config, max_rollbacks=most + 3)
    Trainer.resume(more, tiny_dataset, phases_of(more), tmp_path, CPU, no_progress).work()
    assert _weights(tmp_path)


@pytest.mark.parametrize("kind", ["sgd", "muon"])
def test_a_rate_that_is_far_too_high(kind: str, tiny_dataset: Dataset, tiny_config: RunConfig, tmp_path: Path) -> None:
    """Nothing is simulated here."""
    optimizer = Optimizer(kind=kind, batch_size=32, learning_rate=1e30, warmup_epochs=0, consistency=0)  # type: ignore[arg-type]
    config = _config(tiny_config, optimizer=optimizer, epochs=Epochs(seed=0, era=2), max_rollbacks=1)
    with pytest.raises(UserError, match="ran away in phase era, after its rate was halved 1 times"):
        Trainer.start(config, tiny_dataset, phases_of(config), tmp_path, CPU, no_progress).work()
    assert load_checkpoint(checkpoint_path(tmp_path)).progression.epoch == 0
