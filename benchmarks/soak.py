"""Does a run that goes on for long leak? On scikit-learn's digits, as one long run or as many short ones in one process.

Each run trains with a checkpoint per epoch, grows, exports, judges its networks on the engine and writes its report. Every few
seconds resident memory, open file descriptors and threads are recorded. The soak passes if, after a warm-up, the median of
resident memory in the last third is at most 2 % above that in the first third, and the medians of descriptors and of threads are
no higher. Medians, since a sample may fall on a moment at which a file is being written; the most seen at once are recorded, too.

One long run seeds and grows within the warm-up and then trains the grown network, so that both thirds do the same work.
``python benchmarks/soak.py --minutes 45 --json benchmarks/results/soak.json``, ``--many`` for many runs; SIGTERM ends either
early, and the outcome tells how long it was.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import gc
import json
import os
import platform
import signal
import statistics
import sys
import tempfile
import threading
import time
import warnings
from pathlib import Path
from typing import Any, Callable, Dict, Iterable, Iterator, List, NamedTuple, Optional, Sequence

from gearnn.openmp import wait_briefly

wait_briefly()

import torch

from gearnn.config import Augmentation, Budget, Epochs, GrowthConfig, Optimizer, RunConfig
from gearnn.engine.profile import resident_mb
from gearnn.files import write_json
from gearnn.pipeline import run

MOST_DRIFT = 0.02
WARM_UP = 0.2  # of the time, or one run if that is longer
CONFIG = RunConfig(
    arch="mobilenet_v1",
    limit_train=256,
    limit_test=40,
    threads=1,
    device="cpu",
    seed_width=1 / 8,
    epochs=Epochs(seed=2, regrow=1, era=3),
    budget=Budget(growth_ratio=0.5),
    augmentation=Augmentation(views=3, pad=1, flip=False),
    growth=GrowthConfig(epochs=1),
    optimizer=Optimizer(batch_size=32, learning_rate=0.05),
)
LONG = dataclasses.replace(CONFIG, limit_train=None, limit_test=None, epochs=Epochs(seed=2, regrow=2, era=500))
SAVED_EVERY = 60.0  # seconds


class Sample(NamedTuple):
    """What the process holds at a moment: seconds since the start, MB (10⁶ bytes), counts."""

    seconds: float
    resident_mb: float
    descriptors: int
    threads: int


_COUNTED: Dict[str, Callable[[Iterable[float]], float]] = {"median": statistics.median, "most": max}


class EndedError(Exception):
    """The time is over."""


def sample(seconds: float) -> Sample:
    """What this process holds now, by /proc (Linux)."""
    resident = resident_mb()
    if resident is None:
        raise SystemExit("the soak needs /proc, which this system has not: run it on Linux")
    descriptors = sum(1 for _ in Path("/proc/self/fd").iterdir()) - 1  # but the one that is looked through
    threads = sum(1 for _ in Path("/proc/self/task").iterdir())
    return Sample(round(seconds, 1), round(resident, 2), descriptors, threads)


@contextlib.contextmanager
def watching(clock: Callable[[], float], every: float) -> Iterator[List[Sample]]:
    """Samples from a thread of its own, until the block ends."""
    samples: List[Sample] = []
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(every):
            samples.append(sample(clock()))

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield samples
    finally:
        ended.set()
        watcher.join()


def verdict(samples: Sequence[Sample], warm: float) -> Dict[str, Any]:
    """Drift of memory, and growth of descriptors and threads, between the first and last third of what follows ``warm`` seconds.

    Raises:
        ValueError: if there are fewer than six samples to compare.
    """
    after = [found for found in samples if found.seconds >= warm]
    third = len(after) // 3
    if third < 2:
        raise ValueError(f"{len(after)} samples after warm-up are too few: soak for longer, or look more often.")
    first, last = after[:third], after[-third:]
    before, since = (statistics.median(found.resident_mb for found in part) for part in (first, last))
    counts: Dict[str, Dict[str, List[float]]] = {
        name: {word: [how(getattr(found, name) for found in part) for part in (first, last)] for word, how in _COUNTED.items()}
        for name in ("descriptors", "threads")
    }
    drift = since / before - 1
    passed = drift <= MOST_DRIFT and all(since <= before for before, since in (found["median"] for found in counts.values()))
    return {"warm_up_seconds": round(warm, 1), "resident_mb": [before, since], "drift": drift, **counts, "passed": passed}


def soak(
    seconds: float,
    every: float,
    config: RunConfig = CONFIG,
    save: Callable[[Dict[str, Any]], None] = lambda outcome: None,
    *,
    many: bool = True,
) -> Dict[str, Any]:
    """Do one run that fills the time, or ``many`` as they come; ``save`` gets the outcome so far once a minute, and at the end.

    The last of many runs is broken off when the time is over, as Ctrl-C would.
    """
    start = time.monotonic()
    runs: List[float] = []
    saved = [0.0]
    if not many:
        config = dataclasses.replace(config, budget=dataclasses.replace(config.budget, train_time=f"{seconds:.0f}s"))

    def clock() -> float:
        return time.monotonic() - start

    def progress(label: str, done: int, total: int) -> None:
        if many and clock() > seconds:
            raise EndedError
        if clock() > saved[0] + SAVED_EVERY:
            saved[0] = clock()
            save(outcome(list(samples)))

    def outcome(samples: Sequence[Sample]) -> Dict[str, Any]:
        facts: Dict[str, Any] = {"run_seconds": [round(took, 1) for took in runs]} if many else epochs
        found: Dict[str, Any] = {
            "kind": "many runs" if many else "one run",
            "seconds": round(clock(), 1),
            "runs": len(runs),
            **facts,
        }
        with contextlib.suppress(ValueError):
            found.update(verdict(samples, max(WARM_UP * clock(), runs[0] if runs and many else 0.0)))
        return {**found, "conditions": conditions(), "fields": list(Sample._fields), "samples": [list(kept) for kept in samples]}

    epochs: Dict[str, Any] = {}
    with watching(clock, every) as samples, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with contextlib.suppress(EndedError):
            while many or not runs:
                began = clock()
                with tempfile.TemporaryDirectory(prefix="soak-") as folder:
                    result = run(dataclasses.replace(config, out=Path(folder, "run")), progress)
                runs.append(clock() - began)
                epochs = {"phases": [[phase["name"], phase["epochs"], round(phase["seconds"], 1)] for phase in result["phases"]]}
                gc.collect()
    final = outcome(samples)
    save(final)
    return final


def conditions() -> Dict[str, Any]:
    """Where this was."""
    return {
        "platform": platform.platform(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "processors": os.cpu_count(),
        "niceness": os.nice(0),
        "load": [round(load, 1) for load in os.getloadavg()],
    }


def main(arguments: Optional[List[str]] = None) -> int:
    """Soak and tell; 1 if it did not pass."""
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n")[0])
    parser.add_argument("--minutes", type=float, default=45)
    parser.add_argument("--every", type=float, default=5, help="seconds between two looks")
    parser.add_argument("--many", action="store_true", help="short runs one after the other instead of one long run")
    parser.add_argument("--json", type=Path, help="where the outcome goes, once a minute")
    options = parser.parse_args(arguments)

    def stop(number: int, frame: Any) -> None:
        raise EndedError

    signal.signal(signal.SIGTERM, stop)
    save = (lambda found: write_json(options.json, found)) if options.json else (lambda found: None)
    config = CONFIG if options.many else LONG
    found = soak(60 * options.minutes, options.every, config, save, many=options.many)
    print(
        json.dumps(
            {name: value for name, value in found.items() if name not in ("samples", "fields", "run_seconds", "phases")}, indent=2
        )
    )
    if "passed" not in found:
        print("error: too short to tell: soak for longer, or look more often", file=sys.stderr)
        return 2
    return 0 if found["passed"] else 1


if __name__ == "__main__":
    sys.exit(main())
