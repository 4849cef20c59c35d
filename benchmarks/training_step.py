"""What augmentation costs in an ERA training step, with the kernels and with the torch version that they replaced.

VGG-19 at 1/8 width, 32×32 images, batch 128, four views: the real feed, loss and optimizer. Steps of the two kinds alternate in
one process. ``python benchmarks/training_step.py [--threads 1 2] [--steps 20] [--json]``.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from typing import Any, Callable, Dict, List, Optional, Tuple

from gearnn.openmp import wait_briefly

wait_briefly()

import numpy as np
import torch
from torch import Tensor, nn

from gearnn.bench.pictures import textured
from gearnn.bench.torch_era import apply_plan
from gearnn.config import Optimizer
from gearnn.data import Split
from gearnn.engine.environment import environment
from gearnn.era import ERA
from gearnn.losses import consistency_loss
from gearnn.models import Normalize, create_model, scaled_widths
from gearnn.training import Feed, make_optimizer

BATCH, VIEWS, CLASSES = 128, 4, 10
MEAN, STD = (0.49, 0.48, 0.45), (0.25, 0.24, 0.26)

Batches = Callable[[int], Tuple[Tensor, Tensor]]


def kernels(split: Split) -> Batches:
    """Batches as training gets them."""
    era = ERA(views=VIEWS, pad=4, flip=True, mean=MEAN, std=STD, memory_format=torch.channels_last)
    feed = Feed(split, era, BATCH, key=1, device=torch.device("cpu"))
    return lambda epoch: next(iter(feed.batches(epoch)))


def torch_version(split: Split) -> Batches:
    """Batches by torch's own operations, normalised and laid out afterwards."""
    era, normalize = ERA(views=VIEWS, pad=4, flip=True), Normalize(MEAN, STD)

    def batch(epoch: int) -> Tuple[Tensor, Tensor]:
        rows = np.random.default_rng(epoch).permutation(len(split.labels))[:BATCH]
        views = apply_plan(torch.from_numpy(split.images[rows]), era.plan(rows, seed=1, epoch=epoch, image_size=(32, 32)))
        flat = normalize(views.flatten(0, 1)).contiguous(memory_format=torch.channels_last)
        return flat.unflatten(0, views.shape[:2]), torch.from_numpy(split.labels[rows])

    return batch


def measure(threads: int, steps: int, seed: int) -> List[Dict[str, Any]]:
    """Median milliseconds of augmenting and of training, per kind."""
    torch.set_num_threads(threads)
    torch.manual_seed(seed)
    split = Split(textured(4 * BATCH, 32, seed), np.arange(4 * BATCH) % CLASSES)
    model = create_model("vgg19", CLASSES, scaled_widths("vgg19", 1 / 8)).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = make_optimizer(model, Optimizer(learning_rate=0.01), {})
    kinds = {"kernels": kernels(split), "torch": torch_version(split)}
    taken: Dict[str, List[Tuple[float, float]]] = {name: [] for name in kinds}
    for step in range(steps + 2):
        for name, batches in kinds.items():
            start = time.perf_counter()
            views, labels = batches(step)
            augmented = time.perf_counter()
            train(model, optimizer, views, labels)
            if step >= 2:  # the first steps compile and fill caches
                taken[name].append((augmented - start, time.perf_counter() - augmented))
    rows = []
    for name, pairs in taken.items():
        augment, training = np.array(pairs).T * 1e3
        share = augment / (augment + training)
        row: Dict[str, Any] = {"name": name, "threads": threads, "augment_ms": float(np.median(augment))}
        row.update({"train_ms": float(np.median(training)), "share": float(np.median(share)), "n": len(pairs)})
        row.update({"share_q25": float(np.percentile(share, 25)), "share_q75": float(np.percentile(share, 75))})
        rows.append(row)
    return rows


def train(model: nn.Module, optimizer: torch.optim.Optimizer, views: Tensor, labels: Tensor) -> None:
    """One step."""
    logits = model(views.flatten(0, 1)).unflatten(0, views.shape[:2])
    loss = consistency_loss(logits, labels)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()


def main(arguments: Optional[List[str]] = None) -> int:
    """Print a table or JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    rows = [row for threads in options.threads for row in measure(threads, options.steps, options.seed)]
    metadata = {"batch": BATCH, "views": VIEWS, "steps": options.steps, "seed": options.seed, **environment()}
    if options.json:
        print(json.dumps({"metadata": metadata, "results": rows}, indent=2))
        return 0
    for row in rows:
        figures = f"augment {row['augment_ms']:7.2f} ms, train {row['train_ms']:8.1f} ms"
        spread = f"{100 * row['share_q25']:.1f}..{100 * row['share_q75']:.1f}"
        print(
            f"{row['threads']} threads  {row['name']:<8}{figures}: {100 * row['share']:5.2f} % of a step ({spread}, n={row['n']})"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
