"""A whole run's training: the same bits from the same seed, interrupted or not."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any, Dict

import pytest
import torch

from gearnn import phases as phases_module
from gearnn import trainer as trainer_module
from gearnn.checkpoint import checkpoint_path, load_checkpoint, network_path
from gearnn.config import Budget, RunConfig
from gearnn.data import Dataset
from gearnn.errors import UserError
from gearnn.network import load_network
from gearnn.phases import phases_of
from gearnn.progress import no_progress
from gearnn.timing import TimeBudget
from gearnn.trainer import Trainer

CPU = torch.device("cpu")


class PowerCutError(Exception):
    """The plug was pulled."""


def _work(config: RunConfig, dataset: Dataset, folder: Path, stop_at: int = -1) -> None:
    """Train to the end, or pull the plug after ``stop_at`` calls of progress; resume if there is a checkpoint."""
    calls = 0

    def progress(label: str, done: int, total: int) -> None:
        nonlocal calls
        calls += 1
        if calls == stop_at:
            raise PowerCutError

    begin = Trainer.resume if checkpoint_path(folder).exists() else Trainer.start
    begin(config, dataset, phases_of(config), folder, CPU, progress).work()


def _weights(folder: Path, name: str) -> Dict[str, torch.Tensor]:
    return load_network(network_path(folder, name))[0].state_dict()


def _same(first: Dict[str, torch.Tensor], second: Dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def test_one_seed_gives_identical_weights(tiny_dataset: Dataset, tiny_config: RunConfig, tmp_path: Path) -> None:
    config = dataclasses.replace(tiny_config, baseline=True)
    for folder in ("a", "b"):
        _work(config, tiny_dataset, tmp_path / folder)
    for name in ("seed", "grown", "robust", "baseline"):
        assert _same(_weights(tmp_path / "a", name), _weights(tmp_path / "b", name))
    _work(dataclasses.replace(config, seed=1, baseline=False), tiny_dataset, tmp_path / "c")
    assert not _same(_weights(tmp_path / "a", "seed"), _weights(tmp_path / "c", "seed"))


@pytest.mark.parametrize("arch", ["vgg19", "mobilenet_v1", "resnet18"])
def test_grows_and_keeps_records(arch: str, tiny_dataset: Dataset, tiny_config: RunConfig, tmp_path: Path) -> None:
    config = dataclasses.replace(tiny_config, arch=arch)
    trainer = Trainer.start(config, tiny_dataset, phases_of(config), tmp_path, CPU, no_progress)
    seed_widths = trainer.state.card.widths
    trainer.work()
    assert sum(trainer.state.card.widths) > sum(seed_widths)
    assert all(width % 8 == 0 for width in trainer.state.card.widths)
    assert [record["name"] for record in trainer.state.progression.phases] == ["seed", "growth", "regrow", "era"]
    assert all(record["seconds"] > 0 and record["peak_memory_mb"] > 0 for record in trainer.state.progression.phases)
    growth = trainer.state.progression.growth
    assert all(usage["before"] < usage["after"] <= usage["limit"] for usage in growth["budget"])
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [(row["phase"], row["epoch"]) for row in rows] == [("seed", 1), ("seed", 2), ("regrow", 1), ("era", 1), ("era", 2)]


@pytest.mark.parametrize("stops", [(2, 4), (8, 3), (14, 2), (17, 4, 9)])
def test_an_interrupted_run_ends_in_the_same_bits(
    stops: tuple, tiny_dataset: Dataset, tiny_config: RunConfig, tmp_path: Path
) -> None:
    config = dataclasses.replace(tiny_config, baseline=True)
    _work(config, tiny_dataset, tmp_path / "whole")
    for stop in stops:
        with pytest.raises(PowerCutError):
            _work(config, tiny_dataset, tmp_path / "cut", stop_at=stop)
    _work(config, tiny_dataset, tmp_path / "cut")
    for name in ("seed", "grown", "robust", "baseline"):
        assert _same(_weights(tmp_path / "whole", name), _weights(tmp_path / "cut", name))

    def losses(folder: Path) -> list:
        return [json.loads(line)["loss"] for line in (folder / "metrics.jsonl").read_text().splitlines()]

    assert losses(tmp_path / "whole") == losses(tmp_path / "cut")


def test_newborn_weights_keep_their_rate_when_interrupted(tiny_dataset: Dataset, tiny_config: RunConfig, tmp_path: Path) -> None:
    growth = dataclasses.replace(tiny_config.growth, newborn_lr=3.0)
    config = dataclasses.replace(tiny_config, growth=growth, epochs=dataclasses.replace(tiny_config.epochs, regrow=2))
    _work(config, tiny_dataset, tmp_path / "whole")

    def cut(label: str, done: int, total: int) -> None:
        if (label, done) == ("regrow", 4):  # in the second epoch after growth
            raise PowerCutError

    with pytest.raises(PowerCutError):
        Trainer.start(config, tiny_dataset, phases_of(config), tmp_path / "cut", CPU, cut).work()
    saved = load_checkpoint(checkpoint_path(tmp_path / "cut"))
    assert saved.progression.epoch == 1
    assert all(mask.any() for mask in saved.newborn.values())
    assert len(saved.newborn) > 3
    _work(config, tiny_dataset, tmp_path / "cut")
    assert load_checkpoint(checkpoint_path(tmp_path / "cut")).newborn == {}
    for name in ("grown", "robust"):
        assert _same(_weights(tmp_path / "whole", name), _weights(tmp_path / "cut", name))
    plain = dataclasses.replace(config, growth=dataclasses.replace(growth, newborn_lr=1.0))
    _work(plain, tiny_dataset, tmp_path / "plain")
    assert _same(_weights(tmp_path / "plain", "seed"), _weights(tmp_path / "whole", "seed"))
    assert not _same(_weights(tmp_path / "plain", "grown"), _weights(tmp_path / "whole", "grown"))


def _grow(config: RunConfig, dataset: Dataset, folder: Path) -> Trainer:
    trainer = Trainer.start(config, dataset, phases_of(config), folder, CPU, no_progress)
    trainer.work()
    return trainer


def test_several_shots_reach_the_same_budget(tiny_dataset: Dataset, tiny_config: RunConfig, tmp_path: Path) -> None:
    config = dataclasses.replace(tiny_config, shots=2, budget=Budget(growth_ratio=1.5))
    progression = _grow(config, tiny_dataset, tmp_path).state.progression
    names = ["seed", "growth-1", "regrow-1", "growth-2", "regrow-2", "era"]
    assert [record["name"] for record in progression.phases] == names
    (usage,), steps = progression.growth["budget"], progression.growth["steps"]
    assert len(steps) == 2
    limit = steps[0]["budget"][0]["limit"]
    assert limit == pytest.approx((usage["before"] * usage["limit"]) ** 0.5)
    assert steps[0]["budget"][0]["after"] == steps[1]["budget"][0]["before"] <= limit
    assert 0.9 * usage["limit"] < usage["after"] <= usage["limit"]


@pytest.mark.parametrize(("min_gain", "paid"), [(0.0, True), (1e6, False)])
def test_growth_ends_when_it_no_longer_pays(
    min_gain: float, paid: bool, tiny_dataset: Dataset, tiny_config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = iter([0.5, 0.6, 0.7])
    real = trainer_module.accuracy

    def accuracy(*arguments: Any, chosen: Any = None, **options: Any) -> float:
        return real(*arguments) if chosen is None else next(measured)

    monkeypatch.setattr(trainer_module, "accuracy", accuracy)
    monkeypatch.setattr(phases_module, "MOST_SHOTS", 2)
    growth = dataclasses.replace(tiny_config.growth, min_gain=min_gain)
    optimizer = dataclasses.replace(tiny_config.optimizer, batch_size=16)
    config = dataclasses.replace(
        tiny_config, shots="auto", growth=growth, optimizer=optimizer, budget=Budget(growth_ratio=1.5), baseline=True
    )
    trainer = _grow(config, tiny_dataset, tmp_path)
    records, steps = trainer.state.progression.phases, trainer.state.progression.steps
    shots = 2 if paid else 1
    assert len(steps) == shots
    assert [step["pays"] for step in steps] == [paid] * shots
    assert [record["name"] for record in records if record["name"].startswith("regrow")] == [
        f"regrow-{shot + 1}" for shot in range(shots)
    ]
    assert [record["name"] for record in records[-2:]] == ["era", "baseline"]
    # Robust training begins at what paid: here all steps, or none.
    seed, grown = _weights(tmp_path, "seed"), _weights(tmp_path, "grown")
    assert _same(seed, grown) is not paid
    assert records[0]["images"] == 2 * 80  # a tenth of 96, class by class, is not trained on
    assert records[-2]["images"] == 2 * 96
    assert records[-1]["epochs"] == sum(record["epochs"] for record in records[:-1])


class _Clock:
    """Each look at it takes a while."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 0.25
        return self.now


def test_a_run_with_a_time_budget_takes_that_time(
    tiny_dataset: Dataset, tiny_config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = dataclasses.replace(tiny_config, budget=dataclasses.replace(tiny_config.budget, train_time="100s"))
    trainer = Trainer.start(config, tiny_dataset, phases_of(config), tmp_path, CPU, no_progress, _Clock())
    stretches = {"seed": [2.0, 4.0], "growth": [1.0, 1.0], "regrow": [2.0, 6.0], "era": [4.0, 20.0]}
    trainer.state.progression.plan = {"stretches": stretches, "fixed": 4.0, "judged": [10.0]}
    found = iter([22.0, 16.0, 16.0])  # what rehearsals before and within the last phase find is averaged
    monkeypatch.setattr(TimeBudget, "_end", lambda *_, whole: (0.0, next(found)))
    trainer.work()
    progression = trainer.state.progression
    assert progression.plan["judged"] == [10.0, 22.0, 16.0, 16.0]
    assert 76 <= progression.elapsed <= 82  # 100 s less 1.1 × (4 + 16) s, and what a few looks at the clock take
    records = {record["name"]: record for record in progression.phases}
    assert records["era"]["images"] > records["regrow"]["images"] > records["seed"]["images"]
    planned, spent = ({name: record[key] for name, record in records.items()} for key in ("planned_seconds", "wall_seconds"))
    assert planned["growth"] == 1.0 and planned["seed"] + planned["regrow"] + planned["era"] > 70
    for name in ("seed", "regrow"):
        assert spent[name] == pytest.approx(planned[name], abs=2.5)
    assert trainer.time_budget is not None
    outcome = trainer.time_budget.outcome(trainer.state, progression.elapsed)
    assert outcome["limit"] == 100 and outcome["end"]["planned_seconds"] == 20.0 and outcome["end"]["wall_seconds"] < 2
    rates = [row["learning_rate"] for row in progression.metrics if row["phase"] == "era"]
    assert rates[-1] < 0.01 * max(rates)


def test_a_resumed_run_keeps_its_time(tiny_dataset: Dataset, tiny_config: RunConfig, tmp_path: Path) -> None:
    config = dataclasses.replace(tiny_config, budget=dataclasses.replace(tiny_config.budget, train_time="1h"))
    phases = phases_of(config)
    trainer = Trainer.start(config, tiny_dataset, phases, tmp_path, CPU, no_progress, lambda: 1000.0)
    trainer.state.progression.plan = {"stretches": {"seed": [1.0, 2.0]}, "fixed": 1.0, "judged": [4.0]}
    trainer.state.progression.allotted = {"began": 990.0, "seconds": 500.0}
    trainer._save()
    resumed = Trainer.resume(config, tiny_dataset, phases, tmp_path, CPU, no_progress, lambda: 50.0)
    assert resumed.elapsed() == 1050.0
    resumed.prepare()  # planned already
    assert resumed.time_budget is not None
    assert resumed.time_budget.pace(resumed.state)(0) == pytest.approx(60 / 500)


def test_other_data_cannot_take_over_a_run(tiny_dataset: Dataset, tiny_config: RunConfig, tmp_path: Path) -> None:
    with pytest.raises(PowerCutError):
        _work(tiny_config, tiny_dataset, tmp_path, stop_at=5)
    other = dataclasses.replace(tiny_dataset, mean=(0.4,))
    with pytest.raises(UserError, match="not what the run in"):
        _work(tiny_config, other, tmp_path)


def test_gearnn_1_trains_on_views_from_the_start(tiny_dataset: Dataset, tiny_config: RunConfig, tmp_path: Path) -> None:
    _work(dataclasses.replace(tiny_config, method="gearnn-1"), tiny_dataset, tmp_path)
    assert not _same(_weights(tmp_path, "seed"), _weights(tmp_path, "robust"))
    assert not network_path(tmp_path, "grown").exists()


def test_a_torn_checkpoint_is_refused(tiny_dataset: Dataset, tiny_config: RunConfig, tmp_path: Path) -> None:
    with pytest.raises(PowerCutError):
        _work(tiny_config, tiny_dataset, tmp_path, stop_at=5)
    path = checkpoint_path(tmp_path)
    assert load_checkpoint(path).progression.epoch == 1
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(UserError, match="not a readable safetensors file"):
        load_checkpoint(path)
