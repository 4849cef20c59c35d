"""A whole run's training: the same bits from the same seed, interrupted or not."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Dict

import pytest
import torch

from gearnn.checkpoint import load_checkpoint
from gearnn.config import RunConfig
from gearnn.data import Dataset
from gearnn.errors import UserError
from gearnn.network import load_network
from gearnn.phases import phases_of
from gearnn.progress import no_progress
from gearnn.trainer import Trainer, checkpoint_path, network_path

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
