"""Kills runs at seeded instants and resumes them: ``python -m gearnn.kill_test --kills 40 --runs 8 --json FILE``.

Each configuration is run once without a kill, which gives its timeline. Another run of it is killed (SIGKILL) several times, at
instants drawn evenly over the stages of the timeline and over the events within them, and resumed after each; what comes out must
be the same bits. Processes are forked from one that has torch loaded, to save its start.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import multiprocessing
import os
import random
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Tuple

from gearnn.config import Augmentation, Budget, Epochs, GrowthConfig, Optimizer, RunConfig

TIMING = ("seconds", "images_per_s")
Event = Tuple[float, str, int]
"""Seconds since the start, label of the work, how much of it is done."""

_TINY = RunConfig(
    arch="mobilenet_v1",
    limit_train=96,
    limit_test=20,
    threads=1,
    device="cpu",
    seed_width=1 / 8,
    epochs=Epochs(seed=2, regrow=1, era=2),
    budget=Budget(growth_ratio=0.5),
    augmentation=Augmentation(views=2, pad=1, flip=False),
    growth=GrowthConfig(epochs=1),
    optimizer=Optimizer(batch_size=32, learning_rate=0.05),
)
_MUON = dataclasses.replace(_TINY.optimizer, kind="muon", schedule="hold")
CONFIGS: Dict[str, RunConfig] = {
    "gearnn-2": _TINY,
    "muon-hold": dataclasses.replace(_TINY, optimizer=_MUON, init="identity", standardize=True, grower="variance_transfer"),
    "two-shots": dataclasses.replace(_TINY, shots=2),
    "gearnn-1": dataclasses.replace(_TINY, method="gearnn-1"),
    "fixed": dataclasses.replace(_TINY, method="fixed"),
    "baseline": dataclasses.replace(_TINY, baseline=True),
    "vgg19-osg": dataclasses.replace(_TINY, arch="vgg19", seed_width=1 / 16, grower="osg"),
    "newborn-rate": dataclasses.replace(_TINY, growth=dataclasses.replace(_TINY.growth, newborn_lr=3.0)),
}


def work(config: RunConfig, trace: str) -> None:
    """Do or resume a run, in a process of its own, and write each step of progress to the file ``trace``."""
    from gearnn.pipeline import run

    handle = os.open(trace, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    start = time.monotonic()

    def progress(label: str, done: int, total: int) -> None:
        os.write(handle, f"{time.monotonic() - start}\t{label}\t{done}\n".encode())

    resume = Path(str(config.out), "config.json").exists()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        run(dataclasses.replace(config, resume=resume), progress)


def events_of(trace: Path) -> List[Event]:
    """What a process has told of its progress so far."""
    if not trace.exists():
        return []
    rows = [line.split("\t") for line in trace.read_text(encoding="utf-8").split("\n")[:-1]]
    return [(float(moment), label, int(done)) for moment, label, done in rows]


def instants(timeline: Sequence[Event], count: int, draw: random.Random) -> List[Tuple[int, float]]:
    """Moments to kill at, in order: the number of an event, and seconds after it; stages are equally likely."""
    stages = sorted({label for _, label, _ in timeline})
    found = []
    for stage in draw.sample(stages, len(stages)) * (1 + count // len(stages)):
        place = draw.choice([i for i, (_, label, _) in enumerate(timeline) if label == stage])
        after = timeline[place + 1][0] if place + 1 < len(timeline) else timeline[place][0] + 0.01
        found.append((place, draw.uniform(0, after - timeline[place][0])))
    return sorted(found[:count])


def attempt(config: RunConfig, trace: Path, context: Any, timeline: Sequence[Event], target: Optional[Tuple[int, float]]) -> bool:
    """Run on; with a target, kill the process when it has come there. Returns whether it was killed."""
    if trace.exists():
        trace.unlink()
    process = context.Process(target=work, args=(config, str(trace)))
    process.start()
    order = {(label, done): i for i, (_, label, done) in enumerate(timeline)}
    while process.is_alive() and target is not None:
        seen = events_of(trace)
        if seen and order.get(seen[-1][1:], -1) >= target[0]:
            time.sleep(target[1])
            process.kill()
            break
        time.sleep(0.001)
    process.join()
    if process.exitcode not in (0, -9):
        raise AssertionError(f"the run in {config.out} ended with {process.exitcode}")
    return bool(process.exitcode == -9)


def outcome(folder: Path) -> Dict[str, Any]:
    """What must not depend on kills: digests of all weights, rows of metrics but for their timings, accuracies."""
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    weights = [folder / "model.safetensors", *sorted((folder / "networks").glob("*.safetensors"))]
    result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    return {
        "weights": {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in weights},
        "metrics": [{name: value for name, value in row.items() if name not in TIMING} for row in rows],
        "accuracies": [(found["name"], found["clean_accuracy"], found["robust_accuracy"]) for found in result["networks"]],
        "report": (folder / "report.html").exists(),  # where plotly is not installed there is none in either
        "litter": [path.name for path in folder.rglob(".*")],
    }


def rows_in(folder: Path) -> int:
    """Epochs that a run has finished, by its last checkpoint."""
    from gearnn.checkpoint import checkpoint_path, load_checkpoint

    path = checkpoint_path(folder)
    return len(load_checkpoint(path).progression.metrics) if path.exists() else 0


def torture(name: str, kills: int, seed: int, folder: Path) -> Dict[str, Any]:
    """Kill and resume one configuration, and compare with the same run left alone."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["gearnn.pipeline", "gearnn.report.page"])
    config, trace = dataclasses.replace(CONFIGS[name], seed=seed), folder / "trace"
    attempt(dataclasses.replace(config, out=folder / "whole"), trace, context, [], None)
    timeline, whole = events_of(trace), outcome(folder / "whole")
    cut, draw = dataclasses.replace(config, out=folder / "cut"), random.Random(seed)
    struck: List[Dict[str, Any]] = []
    # A run may end before an instant comes: it is measured anew when resumed, and killed then.
    for target in (*instants(timeline, kills, draw), *instants(timeline, kills, draw)):
        if len(struck) < kills and attempt(cut, trace, context, timeline, target):
            last = (events_of(trace) or [(0.0, "start", 0)])[-1]
            metrics = folder / "cut" / "metrics.jsonl"
            told = len(metrics.read_text(encoding="utf-8").splitlines()) if metrics.exists() else 0
            struck.append({"stage": last[1], "done": last[2], "lost_epochs": told - rows_in(folder / "cut")})
    attempt(cut, trace, context, timeline, None)
    found = outcome(folder / "cut")
    differs = {part: [whole[part], found[part]] for part in whole if found[part] != whole[part]}
    return {"run": name, "seed": seed, "kills": struck, "same": not differs, "differs": differs, "weights": whole["weights"]}


def main(arguments: Optional[List[str]] = None) -> int:
    """Do several runs; prints or writes JSON, and returns 1 if one came out differently."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=40)
    parser.add_argument("--runs", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, default=None)
    options = parser.parse_args(arguments)
    from gearnn.engine.environment import environment

    runs = []
    for number in range(options.runs):
        name = list(CONFIGS)[number % len(CONFIGS)]
        with tempfile.TemporaryDirectory() as folder:
            runs.append(torture(name, -(-options.kills // options.runs), options.seed + number, Path(folder)))
        print(
            f"{name}: {len(runs[-1]['kills'])} kills, {'same bits' if runs[-1]['same'] else 'DIFFERS'}",
            file=sys.stderr,
            flush=True,
        )
    total = sum(len(run["kills"]) for run in runs)
    found = {"date": time.strftime("%Y-%m-%d"), "seed": options.seed, "kills": total, "same": all(r["same"] for r in runs)}
    text = json.dumps({**found, **environment(), "runs": runs}, indent=2) + "\n"
    if options.json:
        options.json.write_text(text, encoding="utf-8")
    else:
        print(text)
    return 0 if found["same"] else 1


if __name__ == "__main__":
    sys.exit(main())
