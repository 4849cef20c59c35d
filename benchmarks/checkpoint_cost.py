"""What a checkpoint per epoch costs, as a share of the epoch's training; in wall seconds and in this process's processor seconds.

A network of fixed width is trained for a few epochs, each timed by itself, without the test that follows it. Then the state is
saved again and again, as after an epoch: metrics, checkpoint and the one before, checksum and flush included. The metrics have as
many rows by then as a run of the preset ends with, which is when a checkpoint is largest. Also timed apart: the checksum, and
flushing a file of that size and its folder.

    python benchmarks/checkpoint_cost.py --data cifar10/ --json benchmarks/results/checkpoint-cost.json

Without --data only the digits are measured.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import platform
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Tuple
from unittest import mock

from gearnn.openmp import wait_briefly

wait_briefly()

import torch

from gearnn import trainer as training
from gearnn.checkpoint import checkpoint_path
from gearnn.config import Budget, Epochs, RunConfig
from gearnn.data import load_data
from gearnn.engine.files import write_bytes
from gearnn.files import write_json
from gearnn.phases import phases_of
from gearnn.presets import preset
from gearnn.progress import no_progress
from gearnn.seal import checksum

SAVES = 25


class Seconds(NamedTuple):
    """Of one piece of work."""

    wall: float
    processor: float


def timed(work: Callable[[], Any]) -> Tuple[Any, Seconds]:
    """What the work returned, and what it took."""
    wall, processor = time.perf_counter(), time.process_time()
    found = work()
    return found, Seconds(time.perf_counter() - wall, time.process_time() - processor)


def measure(config: RunConfig, rows: int, saves: int = SAVES) -> Dict[str, Any]:
    """Epochs and saves of a run of fixed width on one thread; its last checkpoint has ``rows`` rows of metrics."""
    torch.set_num_threads(1)
    data = load_data(config.data, limit_train=config.limit_train, limit_test=config.limit_test, seed=config.seed)
    epochs: List[Seconds] = []
    train_epoch = training.train_epoch

    def watched(*arguments: Any, **options: Any) -> Any:
        result, seconds = timed(lambda: train_epoch(*arguments, **options))
        epochs.append(seconds)
        return result

    with tempfile.TemporaryDirectory(prefix="checkpoint-cost-", dir=".") as place:
        folder, device = Path(place), torch.device("cpu")
        trainer = training.Trainer.start(config, data, phases_of(config), folder, device, no_progress)
        with mock.patch.object(training, "train_epoch", watched):
            trainer.work()
        metrics = trainer.state.progression.metrics
        metrics += [metrics[-1]] * (rows - len(metrics))
        saved = [timed(trainer._save)[1] for _ in range(saves)]
        content = checkpoint_path(folder).read_bytes()
        state = trainer.state
        tensors = {**state.model.state_dict(), **{f"momentum.{name}": value for name, value in state.momentum.items()}}
        hashed = [timed(lambda: checksum(tensors, {}))[1] for _ in range(saves)]
        flushed = [timed(lambda: write_bytes(folder / "flushed", content))[1] for _ in range(saves)]
    parts = {"epoch": epochs, "save": saved, "checksum": hashed, "write_and_flush": flushed}

    def column(name: str, kind: str) -> List[float]:
        return [getattr(one, kind) for one in parts[name]]

    kinds = Seconds._fields
    return {
        "arch": config.arch,
        "seed_width": config.seed_width,
        "train_images": len(data.train.labels),
        "checkpoint_bytes": len(content),
        "metrics_rows": rows,
        "seconds": {name: {kind: spread(column(name, kind)) for kind in kinds} for name in parts},
        "share": {kind: share(column("epoch", kind), column("save", kind)) for kind in kinds},
    }


def spread(values: List[float]) -> Dict[str, Any]:
    """The median and the ends."""
    return {"median": statistics.median(values), "least": min(values), "most": max(values), "n": len(values)}


def share(epochs: List[float], saves: List[float]) -> Dict[str, float]:
    """A save over an epoch: by medians; and of the shortest epoch with the longest save."""
    return {"median": statistics.median(saves) / statistics.median(epochs), "most": max(saves) / min(epochs)}


def conditions() -> Dict[str, Any]:
    """Where this was."""
    return {
        "platform": platform.platform(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "processors": os.cpu_count(),
        "threads": 1,
        "niceness": os.nice(0),
        "load": [round(load, 1) for load in os.getloadavg()],
    }


def main(arguments: Optional[List[str]] = None) -> int:
    """Measure and tell."""
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n")[0])
    parser.add_argument("--data", type=Path, help="CIFAR-10, in any layout that gearnn run takes")
    parser.add_argument("--limit-train", type=int, default=20_000)
    parser.add_argument("--epochs", type=int, default=2, help="of CIFAR-10")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    fixed: Dict[str, Any] = {"method": "fixed", "budget": Budget(), "baseline": False, "device": "cpu", "threads": 1}
    demo, default = preset("demo"), preset("default")
    found: Dict[str, Any] = {
        "digits": measure(dataclasses.replace(demo, **fixed, epochs=Epochs(seed=5, era=0)), rows=56),
    }
    if options.data:
        cifar = dataclasses.replace(
            default, **fixed, arch="vgg19", data=options.data, seed_width=0.25, limit_train=options.limit_train, limit_test=500,
            epochs=Epochs(seed=options.epochs, era=0),
        )  # fmt: skip
        found["cifar10"] = measure(cifar, rows=121)
    for name, facts in found.items():
        told = [f"{kind} {part['median']:.2%} (most {part['most']:.2%})" for kind, part in facts["share"].items()]
        shares = ", ".join(told)
        print(f"{name}: a save takes {shares} of an epoch's training")
        print(facts["seconds"])
    if options.json:
        write_json(options.json, {"settings": found, "conditions": conditions()})
    return 0


if __name__ == "__main__":
    sys.exit(main())
