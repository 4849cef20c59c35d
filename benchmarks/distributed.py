"""Training on several processes of one thread each against one process of one thread, turn by turn.

VGG-19 at a quarter of its widths, 32×32 pictures, batch 128; ``sgd``: four views and SGD, as published; ``muon``: one view and
Muon, as the default preset; ``sgd-sync``: the first with --sync-batchnorm. ``shared``: they share the batch, whose steps stay
those of one process (strong scaling); ``each``: each has a batch of that size (weak scaling). ``apart``: as many processes that
do not talk, each on its part of the batch: what the machine's cores, which share memory and may be shared themselves, allow.
``python benchmarks/distributed.py [--recipes muon] [--processes 2] [--rounds 5] [--steps 12] [--json FILE]``.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any, Dict, List, Optional, Sequence

RECIPES = ("sgd", "muon", "sgd-sync")
WAYS = ("shared", "each", "apart")
BATCH, WARM_UP = 128, 3


def work(recipe: str, batch: int, steps: int, seed: int) -> float:
    """Train as one of the processes that the environment speaks of; returns images per second after the warm-up, over all of
    them, which share the batch."""
    import numpy as np
    import torch

    from gearnn.bench.pictures import textured
    from gearnn.config import Optimizer
    from gearnn.data import Split
    from gearnn.distributed import joined, team_of
    from gearnn.era import ERA
    from gearnn.models import create_model, scaled_widths
    from gearnn.training import Amp, Feed, make_optimizer, train_epoch

    torch.set_num_threads(1)
    torch.manual_seed(seed)
    count = batch * (steps + WARM_UP)
    split = Split(textured(count, 32, seed), np.arange(count) % 10)
    muon = recipe == "muon"
    era = ERA(views=2 if muon else 4, pad=4, flip=True, mean=(0.5,) * 3, std=(0.25,) * 3, memory_format=torch.channels_last)
    model = create_model("vgg19", 10, scaled_widths("vgg19", 0.25, 8)).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    settings = Optimizer(kind="muon", relative_rate=0.02) if muon else Optimizer()
    begun = 0.0

    def on_step(done: int, total: int) -> None:
        nonlocal begun
        if done == WARM_UP:
            begun = time.perf_counter()

    device = torch.device("cpu")
    with joined(team_of(os.environ), device) as team:
        feed = Feed(split, era, batch, key=seed, device=device, first=int(muon), team=team, sync_batchnorm=recipe == "sgd-sync")
        train_epoch(model, make_optimizer(model, settings, {}, team), Amp(device, {}), feed, settings, 0, 1, on_step)
        return batch * steps / (time.perf_counter() - begun)


def start(recipe: str, way: str, processes: int, steps: int, seed: int) -> float:
    """Images per second of ``one`` process or of several in one of the `WAYS`, as the first saw it; of those ``apart``, which
    each train a network of their own, the sum."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = str(found.getsockname()[1])
    started, size = (1, 1) if way == "one" else (processes, 1 if way == "apart" else processes)
    batch = {"each": BATCH * processes, "apart": BATCH // processes}.get(way, BATCH)
    shared = {**os.environ, "OMP_NUM_THREADS": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": str(size)}
    command = [sys.executable, __file__, "--work", recipe, "--batch", str(batch), "--steps", str(steps), "--seed", str(seed)]
    running = [
        subprocess.Popen(command, env={**shared, "RANK": str(rank % size)}, stdout=subprocess.PIPE, text=True)
        for rank in range(started)
    ]
    told = [process.communicate()[0] for process in running]
    if any(process.returncode for process in running):
        raise SystemExit("a process failed: see what it said")
    return sum(float(line) for line in told) if way == "apart" else float(told[0])


def measure(recipes: Sequence[str], processes: int, rounds: int, steps: int, seed: int) -> List[Dict[str, Any]]:
    """Images per second and their ratios to those of one process, round by round, for each recipe."""
    rows = []
    for recipe in recipes:
        turns = [{way: start(recipe, way, processes, steps, seed) for way in ("one", *WAYS)} for _ in range(rounds)]
        row: Dict[str, Any] = {"recipe": recipe, "n": rounds, "one": {"images_per_s": median(turn["one"] for turn in turns)}}
        for way in WAYS:
            ratios = [turn[way] / turn["one"] for turn in turns]
            speed = median(turn[way] for turn in turns)
            row[way] = {"images_per_s": speed, "ratio": median(ratios), "least": min(ratios), "most": max(ratios)}
        rows.append(row)
    return rows


def main(arguments: Optional[List[str]] = None) -> int:
    """Measure and print, or do the work of one process."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--recipes", choices=RECIPES, nargs="+", default=RECIPES)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, default=None)
    parser.add_argument("--work", choices=RECIPES, default=None, help=argparse.SUPPRESS)
    parser.add_argument("--batch", type=int, default=BATCH, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.work:
        print(work(options.work, options.batch, options.steps, options.seed))
        return 0
    from gearnn.engine.environment import environment

    load = os.getloadavg()[0]
    rows = measure(options.recipes, options.processes, options.rounds, options.steps, options.seed)
    for row in rows:
        ways = [f"{way} {row[way]['ratio']:.2f} ({row[way]['least']:.2f} to {row[way]['most']:.2f})" for way in WAYS]
        alone = f"{row['recipe']:<10}{row['one']['images_per_s']:6.0f} images/s on one"
        print(f"{alone}; {options.processes} processes, n {row['n']}: {', '.join(ways)} times")
    if options.json:
        found = {"date": time.strftime("%Y-%m-%d"), "processes": options.processes, "load_before": load, "seed": options.seed}
        options.json.write_text(json.dumps({**found, **environment(), "rows": rows}, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
