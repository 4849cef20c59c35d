"""Two processes against one: the same steps, the same growth decision; one that dies stops the other, and the run goes on."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Callable, Dict, List, Sequence

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch import nn

from gearnn.config import Budget, Optimizer, RunConfig
from gearnn.distributed import ALONE, Team, check_team, team_of
from gearnn.errors import UserError

gloo = pytest.mark.skipif(not (dist.is_available() and dist.is_gloo_available()), reason="this build of torch has no Gloo")
RUN = (
    "run --preset plain --arch mobilenet_v1 --seed-width 0.0625 --limit-train 96 --limit-test 40 --threads 1 --device cpu "
    "--epochs.seed 2 --epochs.regrow 1 --epochs.era 2 --budget.growth-ratio 0.5 --growth.epochs 1 --optimizer.batch-size 32 "
    "--optimizer.learning-rate 0.02 --augmentation.views 2 --augmentation.no-flip"
)


def together(work: Sequence[str], size: int, **options: Any) -> List[subprocess.Popen]:
    """Start ``python ARGUMENTS`` as the processes of a team, as torchrun would."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    shared = {**os.environ, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(size), "OMP_NUM_THREADS": "1"}
    pipes: Dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, **options}
    return [
        subprocess.Popen([sys.executable, *work], env={**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)}, **pipes)
        for rank in range(size)
    ]


def ended(processes: Sequence[subprocess.Popen], seconds: float = 120) -> List[Any]:
    """(exit code, standard output, standard error) of each."""
    try:
        told = [process.communicate(timeout=seconds) for process in processes]
    finally:
        for process in processes:
            process.kill()
    return [(process.returncode, *found) for process, found in zip(processes, told)]


STEPS = """
import os, sys
from contextlib import nullcontext
import numpy as np, torch
from torch import nn
from gearnn.accumulation import MicroBatches
from gearnn.config import Optimizer
from gearnn.distributed import joined, team_of, whole_batches
from gearnn.training import make_optimizer, momentum_of
torch.set_num_threads(1)
torch.manual_seed(0)
model = nn.Sequential(
    nn.Conv2d(3, 6, 3, bias=False), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 5, 3), nn.BatchNorm2d(5, affine=False), nn.ReLU(),
    nn.Conv2d(5, 8, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.BatchNorm1d(8, momentum=None), nn.Linear(8, 4),
)
views, labels = torch.randn(2, 7, 3, 9, 9), torch.arange(7) % 4
with joined(team_of(os.environ), torch.device("cpu")) as team:
    mine = team.part_of(np.arange(7))
    optimizer = make_optimizer(model, Optimizer(kind=sys.argv[2]), {}, team)
    for _ in range(2):
        model.zero_grad()
        with whole_batches(model.train(), team):
            found = MicroBatches().learn(model, views[:, mine], labels[mine], 12.0, autocast=nullcontext,
                forget=lambda: None, backward=lambda loss: loss.backward(), share=len(mine) / 7)
        found = team.summed(model, found)
        optimizer.step()
    assert all("forward" not in vars(layer) for layer in model.modules())
gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
tensors = {"": model.state_dict(), "gradient": gradients, "momentum": momentum_of(model, optimizer)}
np.savez(sys.argv[1] + os.environ.get("RANK", ""), loss=found.loss, correct=found.correct,
         **{f"{kind}.{name}": tensor.numpy() for kind, found in tensors.items() for name, tensor in found.items()})
"""


@gloo
@pytest.mark.parametrize(("size", "kind"), [(3, "sgd"), (2, "muon"), (3, "muon")])
def test_steps_of_several_are_those_of_one_with_whole_batches_to_equal_bits_on_all(tmp_path: Path, size: int, kind: str) -> None:
    alone = subprocess.run([sys.executable, "-c", STEPS, str(tmp_path / "alone"), kind], capture_output=True, text=True)
    assert alone.returncode == 0, alone.stderr
    for code, _, said in ended(together(["-c", STEPS, str(tmp_path / "part"), kind], size)):
        assert code == 0, said
    whole = np.load(tmp_path / "alone.npz")
    parts = [np.load(tmp_path / f"part{rank}.npz") for rank in range(size)]
    for name in whole.files:
        np.testing.assert_allclose(parts[0][name], whole[name], rtol=2e-4, atol=2e-5, err_msg=name)
        assert all(np.array_equal(part[name], parts[0][name]) for part in parts), name
    assert np.abs(whole["gradient.0.weight"]).max() > 1e-3 and whole[".1.running_var"].std() > 0


def result(folder: Path) -> Dict[str, Any]:
    found: Dict[str, Any] = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    return found


@gloo
@pytest.mark.slow
def test_two_processes_are_as_good_as_one_grow_alike_and_survive_a_death(tmp_path: Path) -> None:
    arguments = ["-m", "gearnn", *RUN.split()]
    alone = subprocess.run([sys.executable, *arguments, "--out", str(tmp_path / "alone")], capture_output=True, text=True)
    assert alone.returncode == 0, alone.stderr
    both = ended(together([*arguments, "--out", str(tmp_path / "both")], 2))
    assert [code for code, _, _ in both] == [0, 0], both
    assert "network" in both[0][1] and both[1][1] == both[1][2] == ""  # the first speaks for all
    one, two = result(tmp_path / "alone"), result(tmp_path / "both")
    assert two["device"]["training_processes"] == 2
    assert two["growth"]["layers"] == one["growth"]["layers"]
    losses = [
        [json.loads(row)["loss"] for row in (tmp_path / name / "metrics.jsonl").read_text().splitlines()]
        for name in ("alone", "both")
    ]
    np.testing.assert_allclose(losses[1], losses[0], rtol=0.3)  # each normalises by its own 16 images
    assert abs(two["clean_accuracy"] - one["clean_accuracy"]) <= 0.2

    command = [*arguments, "--out", str(tmp_path / "cut")]
    processes = together(command, 2)
    _wait(lambda: (tmp_path / "cut" / "checkpoint" / "last.safetensors").exists())
    processes[1].send_signal(signal.SIGKILL)
    start = time.monotonic()
    code, _, said = ended(processes[:1])[0]
    assert time.monotonic() - start < 30
    assert code == 2
    assert "Traceback" not in said
    assert said.count("another process of this run has ended") == 1 and "--resume" in said
    assert [code for code, _, _ in ended(together([*command, "--resume"], 2))] == [0, 0]
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("both", "cut")]
    assert weights[0] == weights[1]


def _wait(until: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not until():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_the_environment_tells_who_is_who() -> None:
    assert team_of({}) == team_of({"WORLD_SIZE": "1", "RANK": "0"}) == ALONE
    place = {
        "RANK": "1",
        "WORLD_SIZE": "4",
        "MASTER_ADDR": "host",
        "MASTER_PORT": "29500",
        "LOCAL_RANK": "0",
        "LOCAL_WORLD_SIZE": "2",
    }
    assert team_of(place) == Team(1, 4, 0, 2) and not team_of(place).leads
    for change, said in (
        ({"RANK": "4"}, "no rank 4 among 4 processes"),
        ({"RANK": "one"}, "must be whole numbers"),
        ({"MASTER_PORT": None}, "MASTER_PORT not: start the processes with torchrun"),
    ):
        wrong = {name: value for name, value in {**place, **change}.items() if value is not None}
        with pytest.raises(UserError, match=said):
            team_of(wrong)


def test_parts_make_up_the_batch() -> None:
    parts = [Team(rank, 3).part_of(np.arange(10)) for rank in range(3)]
    assert np.concatenate(parts).tolist() == list(range(10)) and {len(part) for part in parts} == {3, 4}


def test_jobs_are_shared_out_evenly_and_alike_on_all() -> None:
    costs = [1, 5, 3, 4, 3, 2]
    workers = Team(0, 2).shared_out(costs)
    assert workers == Team(1, 2).shared_out(costs)
    assert [sum(cost for cost, worker in zip(costs, workers) if worker == rank) for rank in range(2)] == [9, 9]
    assert ALONE.shared_out(costs) == [0] * 6


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (RunConfig(budget=Budget(train_time="5m")), "--budget.train-time does not go with several processes"),
        (RunConfig(memory_limit="1GiB"), "--memory-limit does not go"),
        (RunConfig(shots="auto"), "--shots auto does not go"),
        (RunConfig(optimizer=Optimizer(batch_size=4)), "a batch of 4 images is too small for 3 processes"),
    ],
)
def test_what_several_cannot_do_is_refused(config: RunConfig, said: str) -> None:
    check_team(config, ALONE)
    with pytest.raises(UserError, match=said):
        check_team(config, Team(0, 3))


def test_alone_nothing_changes() -> None:
    model = nn.BatchNorm2d(3)
    values = [torch.arange(3.0), torch.ones(2)]
    ALONE.add_up(values)
    assert values[0].tolist() == [0, 1, 2] and ALONE.told(b"so") == b"so"
    from gearnn.distributed import whole_batches

    with whole_batches(model, ALONE):
        assert "forward" not in vars(model)
