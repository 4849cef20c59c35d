"""Peak memory of a growth step over that of training, in a process of its own: ``python -m gearnn.bench.growth_memory SPEC``."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass, replace
from typing import Callable, Iterator, Optional, Tuple

from gearnn.bench.memory import in_fresh_process, rise_of
from gearnn.config import Budget, GrowthConfig, Optimizer


@dataclass(frozen=True)
class Workload:
    """A seed network and what it is grown on; the pictures are generated, since memory does not depend on what they show."""

    arch: str
    widths: Tuple[int, ...]
    classes: int
    channels: int
    image_size: int
    batch_size: int
    budget: Budget
    growth: GrowthConfig


def peak_over_training(workload: Workload, grower: str) -> Optional[float]:
    """The rise of resident memory in a growth step over that in three training steps; None where it cannot be read."""
    specs = [json.dumps({"name": name, "workload": asdict(workload)}) for name in (grower, "training")]
    growing, training = (in_fresh_process("gearnn.bench.growth_memory", spec) for spec in specs)
    return None if growing is None or training is None else growing / training


def _measure(workload: Workload, name: str) -> float:
    """10⁶ bytes above what the process had before, with network, momentum and pictures in place and libraries warm."""
    import numpy as np
    import torch
    from torch import Tensor, nn

    from gearnn.bench.pictures import textured
    from gearnn.growth.step import grow
    from gearnn.losses import consistency_loss
    from gearnn.models import create_model
    from gearnn.training import make_optimizer, momentum_of

    torch.set_num_threads(1)
    images = torch.from_numpy(textured(workload.batch_size * 2, workload.image_size, 0)).float() / 128 - 1
    images = images[:, np.arange(workload.channels) % 3].contiguous(memory_format=torch.channels_last)
    labels = torch.from_numpy(np.arange(len(images)) % workload.classes)

    def batches(epoch: int, size: int = workload.batch_size) -> Iterator[Tuple[Tensor, Tensor]]:
        for start in range(0, len(images), size):
            yield images[None, start : start + size], labels[start : start + size]

    def train(model: nn.Module, optimizer: torch.optim.Optimizer, size: int) -> None:
        for views, found in batches(0, size):
            optimizer.zero_grad(set_to_none=True)
            loss = consistency_loss(model(views.flatten(0, 1)).unflatten(0, views.shape[:2]), found)
            loss.backward()
            optimizer.step()

    def network() -> Tuple[nn.Module, torch.optim.Optimizer]:
        model = create_model(workload.arch, workload.classes, workload.widths, workload.channels)
        model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return model, make_optimizer(model, Optimizer(), {})

    def job(size: int) -> Callable[[], object]:
        model, optimizer = network()
        train(model, optimizer, 2 * size if size < workload.batch_size else size)
        momentum = momentum_of(model, optimizer)
        if name == "training":
            return lambda: train(model, optimizer, size)
        config = replace(workload.growth, micro_batch=min(workload.growth.micro_batch, size))
        optimizer.zero_grad(set_to_none=True)
        feed = lambda epoch: batches(epoch, size)  # noqa: E731
        return lambda: grow(model, feed, workload.budget, grower=name, config=config, momentum=momentum)

    job(2)()  # loads and compiles what is needed
    return rise_of(job(workload.batch_size))


def main() -> None:
    """Print the peak for the job that the argument describes."""
    spec = json.loads(sys.argv[1])
    given = spec["workload"]
    given.update(
        {"budget": Budget(**given["budget"]), "growth": GrowthConfig(**given["growth"]), "widths": tuple(given["widths"])}
    )
    print(_measure(Workload(**given), spec["name"]))


if __name__ == "__main__":
    main()
