"""Training on several processes of one thread each against one process of one thread, at the same batch, turn by turn.

VGG-19 at a quarter of its widths, 32×32 pictures, batch 128; ``sgd``: four views and SGD, as published; ``muon``: one view and
Muon, as the default preset; ``sgd-sync``: the first with --sync-batchnorm.
``python benchmarks/distributed.py [--processes 2] [--rounds 5] [--steps 12] [--json FILE]``.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Dict, List, Optional

RECIPES = ("sgd", "muon", "sgd-sync")
BATCH, WARM_UP = 128, 3


def work(recipe: str, steps: int, seed: int) -> float:
    """Train as one of the processes that the environment speaks of; returns images per second after the warm-up, over all."""
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
    count = BATCH * (steps + WARM_UP)
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
        feed = Feed(split, era, BATCH, key=seed, device=device, first=int(muon), team=team, sync_batchnorm=recipe == "sgd-sync")
        train_epoch(model, make_optimizer(model, settings, {}, team), Amp(device, {}), feed, settings, 0, 1, on_step)
        return BATCH * steps / (time.perf_counter() - begun)


def start(recipe: str, processes: int, steps: int, seed: int) -> float:
    """Images per second of that many processes, as the first of them saw it."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = str(found.getsockname()[1])
    shared = {**os.environ, "OMP_NUM_THREADS": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": str(processes)}
    command = [sys.executable, __file__, "--work", recipe, "--steps", str(steps), "--seed", str(seed)]
    started = [
        subprocess.Popen(command, env={**shared, "RANK": str(rank)}, stdout=subprocess.PIPE, text=True)
        for rank in range(processes)
    ]
    told = [process.communicate()[0] for process in started]
    if any(process.returncode for process in started):
        raise SystemExit("a process failed: see what it said")
    return float(told[0])


def measure(processes: int, rounds: int, steps: int, seed: int) -> List[Dict[str, Any]]:
    """Images per second and their ratio, round by round, for each recipe."""
    rows = []
    for recipe in RECIPES:
        pairs = [(start(recipe, 1, steps, seed), start(recipe, processes, steps, seed)) for _ in range(rounds)]
        ratios = [several / one for one, several in pairs]
        rows.append(
            {
                "recipe": recipe,
                "images_per_s_one": statistics.median(one for one, _ in pairs),
                "images_per_s_several": statistics.median(several for _, several in pairs),
                "ratio": statistics.median(ratios),
                "ratios": [min(ratios), max(ratios)],
                "n": rounds,
            }
        )
    return rows


def main(arguments: Optional[List[str]] = None) -> int:
    """Measure and print, or do the work of one process."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, default=None)
    parser.add_argument("--work", choices=RECIPES, default=None, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.work:
        print(work(options.work, options.steps, options.seed))
        return 0
    from gearnn.engine.environment import environment

    load = os.getloadavg()[0]
    rows = measure(options.processes, options.rounds, options.steps, options.seed)
    for row in rows:
        low, high = row["ratios"]
        print(
            f"{row['recipe']:<10}{row['images_per_s_one']:8.0f} images/s on one,{row['images_per_s_several']:8.0f} on "
            f"{options.processes}: {row['ratio']:.2f} times ({low:.2f} to {high:.2f}, n {row['n']})"
        )
    if options.json:
        found = {"date": time.strftime("%Y-%m-%d"), "processes": options.processes, "load_before": load, "seed": options.seed}
        options.json.write_text(json.dumps({**found, **environment(), "rows": rows}, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
