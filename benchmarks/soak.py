"""Does a long-lived process leak? Small runs on scikit-learn's digits, one after the other in one process, watched from outside.

Each run trains with a checkpoint per epoch, grows, exports, judges its networks on the engine and writes its report. Every few
seconds resident memory, open file descriptors and threads are recorded. The soak passes if, after a warm-up, the median of
resident memory in the last third is at most 2 % above that in the first third, and neither the most descriptors nor the most
threads have grown. ``python benchmarks/soak.py --minutes 45 --json benchmarks/results/soak.json``; SIGTERM ends it early, and the
outcome tells how long it was.
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
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional, Sequence

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


class Sample(NamedTuple):
    """What the process holds at a moment: seconds since the start, MB (10⁶ bytes), counts."""

    seconds: float
    resident_mb: float
    descriptors: int
    threads: int


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
    grown = {
        name: max(getattr(found, name) for found in last) - max(getattr(found, name) for found in first)
        for name in ("descriptors", "threads")
    }
    drift = since / before - 1
    passed = drift <= MOST_DRIFT and all(count <= 0 for count in grown.values())
    return {"resident_mb": [before, since], "drift": drift, "grown": grown, "passed": passed}


def soak(
    seconds: float, every: float, config: RunConfig = CONFIG, save: Callable[[Dict[str, Any]], None] = lambda outcome: None
) -> Dict[str, Any]:
    """Do runs for a while; ``save`` gets the outcome so far after each, and at the end.

    The last run is broken off when the time is over, as Ctrl-C would.
    """
    start = time.monotonic()
    runs: List[float] = []

    def clock() -> float:
        return time.monotonic() - start

    def progress(label: str, done: int, total: int) -> None:
        if clock() > seconds:
            raise EndedError

    def outcome(samples: Sequence[Sample]) -> Dict[str, Any]:
        found: Dict[str, Any] = {
            "seconds": round(clock(), 1),
            "runs": len(runs),
            "run_seconds": [round(took, 1) for took in runs],
        }
        with contextlib.suppress(ValueError):
            found.update(verdict(samples, max(WARM_UP * clock(), runs[0] if runs else 0.0)))
        return {**found, "conditions": conditions(), "fields": list(Sample._fields), "samples": [list(kept) for kept in samples]}

    with watching(clock, every) as samples, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with contextlib.suppress(EndedError):
            while True:
                began = clock()
                with tempfile.TemporaryDirectory(prefix="soak-") as folder:
                    run(dataclasses.replace(config, out=Path(folder, "run")), progress)
                runs.append(clock() - began)
                gc.collect()
                save(outcome(list(samples)))
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
    }


def main(arguments: Optional[List[str]] = None) -> int:
    """Soak and tell; 1 if it did not pass."""
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n")[0])
    parser.add_argument("--minutes", type=float, default=45)
    parser.add_argument("--every", type=float, default=5, help="seconds between two looks")
    parser.add_argument("--json", type=Path, help="where the outcome goes, after every run")
    options = parser.parse_args(arguments)

    def stop(number: int, frame: Any) -> None:
        raise EndedError

    signal.signal(signal.SIGTERM, stop)
    save = (lambda found: write_json(options.json, found)) if options.json else (lambda found: None)
    found = soak(60 * options.minutes, options.every, save=save)
    print(
        json.dumps({name: value for name, value in found.items() if name not in ("samples", "fields", "run_seconds")}, indent=2)
    )
    if "passed" not in found:
        print("error: too short to tell: soak for longer, or look more often", file=sys.stderr)
        return 2
    return 0 if found["passed"] else 1


if __name__ == "__main__":
    sys.exit(main())
