"""How far predicted latencies are from measured ones: the three networks, seed 1/8, grown to random widths in multiples of 8.

The table of layers starts empty unless ``--cache-dir`` names one. The engines of a network are then called in turns, in several
rounds. Given are the median and the lowest of the rounds' p50s, and how far they lie apart: other work on the
machine adds to them. Each choice is predicted beforehand, as for a budget of about its latency (the sum of its layers).
``python benchmarks/latency_prediction.py [--threads 1] [--choices 6] [--times 4] [--rounds 5] [--cache-dir DIR] [--json]``.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

import numpy as np
import torch

from gearnn.blank import blank_model
from gearnn.engine.environment import environment
from gearnn.engine.layer_table import LayerTable
from gearnn.growth.graph import trace_channels
from gearnn.latency import latency_cost, latency_rounds, layer_sites, summed_layers
from gearnn.models import create_model, scaled_widths

NETWORKS, SEED_WIDTH, IMAGE, CLASSES, STEP = ("vgg19", "mobilenet_v1", "resnet18"), 1 / 8, (3, 32, 32), 10, 8


def random_widths(seed: Dict[str, int], largest: Dict[str, int], generator: np.random.Generator) -> Dict[str, int]:
    """Some share of the way for each group, itself between nothing and a random part of the whole."""
    reach = generator.uniform(0.2, 1)
    steps = {name: generator.uniform(0, reach) * (largest[name] - width) / STEP for name, width in seed.items()}
    return {name: width + STEP * int(steps[name] + 0.5) for name, width in seed.items()}


def judge(name: str, cache: Path, threads: int, count: int, times: float, rounds: int, seed: int) -> Dict[str, Any]:
    """One network: what profiling took, and each choice's prediction, measurement, error and spread."""
    torch.manual_seed(seed)
    model = create_model(name, CLASSES, scaled_widths(name, SEED_WIDTH))
    graph = trace_channels(model, torch.rand(1, *IMAGE))
    traced = graph.widths()
    largest = {group: int(times * width) // STEP * STEP for group, width in traced.items()}
    generator = np.random.default_rng(seed)
    choices = [random_widths(traced, largest, generator) for _ in range(count)] + [largest]

    table, start = LayerTable.open(threads=threads, cache_dir=cache), time.perf_counter()
    layers = summed_layers(graph, layer_sites(model, graph, IMAGE), table, largest)
    cold = time.perf_counter() - start
    start = time.perf_counter()
    again = LayerTable.open(threads=threads, cache_dir=cache)
    summed_layers(graph, layer_sites(model, graph, IMAGE), again, largest)
    warm = time.perf_counter() - start
    load = os.getloadavg()[0]
    predictions = [
        latency_cost(graph, model, IMAGE, threads=threads, largest=largest, near_ms=layers(widths), table=again)(widths)
        for widths in choices
    ]
    measured = latency_rounds([blank_model(model, graph, widths) for widths in choices], IMAGE, threads, rounds=rounds)
    rows = []
    for widths, predicted, p50s in zip(choices, predictions, measured.T):
        p50, lowest = float(np.median(p50s)), float(np.min(p50s))
        rows.append(
            {
                "widths": list(widths.values()),
                "predicted_ms": predicted,
                "layers_ms": layers(widths),
                "p50_ms": p50,
                "lowest_ms": lowest,
                "error": predicted / p50 - 1,
                "error_to_lowest": predicted / lowest - 1,
                "spread": float(np.ptp(p50s)) / p50,
            }
        )
    return {
        "name": name, "threads": threads, "layers_ms": layers(traced), "profile_seconds": cold, "cached_seconds": warm,
        "load": load, "rounds": rounds, "choices": rows,
    }  # fmt: skip


def show(result: Dict[str, Any]) -> None:
    seconds = f"profiled in {result['profile_seconds']:.1f} s, read from the cache in {result['cached_seconds']:.2f} s"
    print(f"{result['name']}, {result['threads']} thread(s), load {result['load']:.1f}: {seconds}")
    print("  predicted     median of the rounds' p50   lowest of them     spread  widths")
    for row in result["choices"]:
        figures = [row[name] for name in ("predicted_ms", "p50_ms", "error", "lowest_ms", "error_to_lowest", "spread")]
        print("  {:6.3f} ms {:13.3f} ms {:+7.1%} {:7.3f} ms {:+7.1%}  {:7.1%} ".format(*figures), row["widths"])


def main(arguments: Optional[List[str]] = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS), choices=NETWORKS)
    parser.add_argument("--threads", nargs="+", type=int, default=[1])
    parser.add_argument("--choices", type=int, default=6, help="random ones; the largest is added")
    parser.add_argument("--times", type=float, default=4.0, help="largest widths, in those of the seed")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cache-dir", type=Path, help="of the table of layers; by default an empty one for each network")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    settings: Tuple[int, float, int, int] = (options.choices, options.times, options.rounds, options.seed)
    results = []
    for threads in options.threads:
        for name in options.networks:
            with tempfile.TemporaryDirectory() as empty:
                results.append(judge(name, options.cache_dir or Path(empty), threads, *settings))
            if not options.json:
                show(results[-1])
    if options.json:
        print(json.dumps({**environment(), "results": results}, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
