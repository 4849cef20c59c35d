"""What a phase works with: its network and its batches, decided by the configuration and the data alone."""

from __future__ import annotations

from pathlib import Path
from typing import Optional, Sequence, Tuple

import numpy as np
import torch
from torch import Tensor, nn

from gearnn.augmentations import augmenter_from
from gearnn.budget import Constraint, Work, constraints, largest_widths
from gearnn.config import RunConfig, limits_widths
from gearnn.data import Dataset
from gearnn.errors import UserError
from gearnn.growth.graph import ChannelGraph, trace_channels
from gearnn.growth.growers import find_grower
from gearnn.models import create_model, deployable, scaled_widths
from gearnn.models.layers import pass_on
from gearnn.network import Card
from gearnn.phases import Phase
from gearnn.progress import Progress, no_progress
from gearnn.training import Feed

WIDEST = 2.0
"""Of the full-size widths: how wide a network is considered that is not grown."""


def card_of(config: RunConfig, dataset: Dataset, widths: Sequence[int]) -> Card:
    """The card of a network of these widths."""
    facts = (dataset.classes, dataset.mean, dataset.std, dataset.image_size, dataset.in_chans)
    return Card(config.arch, tuple(widths), *facts, standardize=config.standardize)


def check_data(config: RunConfig, dataset: Dataset, folder: Path, card: Card) -> None:
    """Do nothing if a network with this card, of a run or of the first of several processes, was made for these images.

    Raises:
        UserError: if its classes, sizes or statistics are others.
    """
    if card_of(config, dataset, card.widths) != card:
        raise UserError(
            f"{dataset.name} is not what the run in {folder} was started on: give that with --data, or choose another --out"
        )


def untrained(card: Card, key: int, init: str = "he") -> nn.Module:
    """A network whose weights depend on the key and the kind of initialisation alone; torch's generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(key % 2**63)
        model = card.build()
    if init == "identity":
        pass_on(model)
    return model


def limits_of(
    config: RunConfig, dataset: Dataset, model: nn.Module, progress: Progress = no_progress
) -> Tuple[ChannelGraph, Tuple[Constraint, ...]]:
    """The channels of a network and the limits that the budget sets on them; training memory is that of robust phases.

    Raises:
        UserError: for a budget that leaves no room to grow.
    """
    work = work_of(config, dataset, torch.device("cpu"))
    graph = trace_channels(model, work.example_input)
    offered = find_grower(config.grower).offered(graph, config.growth)
    largest = largest_widths(graph, offered, config.growth.round_to)
    return graph, constraints(config.budget, model, graph, work, largest, progress)


def initial_widths(config: RunConfig, dataset: Dataset) -> Tuple[int, ...]:
    """The widths that a run starts at: those of the seed network; without growth, of the widest that the budget allows."""
    rounding = config.growth.round_to
    seed = scaled_widths(config.arch, config.seed_width, rounding)
    if config.method != "fixed" or not limits_widths(config.budget):
        return seed

    def network(widths: Sequence[int]) -> nn.Module:
        return create_model(config.arch, dataset.num_classes, widths, dataset.in_chans)

    _, limits = limits_of(config, dataset, network(seed))

    def fits(multiplier: float) -> bool:
        widths = trace_channels(network(scaled_widths(config.arch, multiplier, rounding)), _example(dataset)).widths()
        return all(limit.cost(widths) <= limit.limit for limit in limits)

    if not fits(config.seed_width):
        raise UserError(
            f"a network of --seed-width {config.seed_width:g} is above the budget already: lower it or raise the budget"
        )
    low, high = config.seed_width, WIDEST
    for _ in range(12):
        middle = (low + high) / 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return scaled_widths(config.arch, low, rounding)


def work_of(config: RunConfig, dataset: Dataset, device: torch.device) -> Work:
    """What the network of a run is to do: robust training, which takes the most memory, and inference from images in [0, 1]."""
    example = _example(dataset).to(device)
    training = (config.optimizer.images_per_step, config.augmentation.views)
    threads = config.threads or torch.get_num_threads()
    return Work(example, *training, threads, lambda model: deployable(model, dataset.mean, dataset.std).to(device))


def _example(dataset: Dataset) -> Tensor:
    """(1, C, H, W), for tracing."""
    return torch.zeros(1, dataset.in_chans, dataset.image_size, dataset.image_size)


def feed_of(config: RunConfig, dataset: Dataset, phase: Phase, device: torch.device, chosen: Optional[np.ndarray] = None) -> Feed:
    """The batches of a phase, of all training images or of those chosen by index."""
    settings = config.augmentation
    pad = round(settings.pad * dataset.image_size / 32)
    output = {"mean": dataset.mean, "std": dataset.std, "memory_format": torch.channels_last}
    first = 1 if phase.augmented and not settings.clean_view else 0
    augmenter = augmenter_from(settings, phase.views + first, pad=pad, flip=settings.flip, **output)
    return Feed(
        dataset.train, augmenter, config.optimizer.images_per_step, key_of(config.seed, phase.name), device, chosen, first
    )


def key_of(seed: int, name: str) -> int:
    """A 64-bit key for one purpose of a run."""
    words = [seed, *name.encode()]
    return int(np.random.SeedSequence(words).generate_state(1, np.uint64)[0])
