"""What a phase works with: its network and its batches, decided by the configuration and the data alone."""

from __future__ import annotations

from typing import Optional, Sequence, Tuple

import numpy as np
import torch
from torch import nn

from gearnn.budget import Constraint, Work, constraints, largest_widths
from gearnn.config import RunConfig
from gearnn.data import Dataset
from gearnn.era import era_from
from gearnn.growth.graph import ChannelGraph, trace_channels
from gearnn.growth.growers import find_grower
from gearnn.models import deployable
from gearnn.network import Card
from gearnn.phases import Phase
from gearnn.training import Feed


def card_of(config: RunConfig, dataset: Dataset, widths: Sequence[int]) -> Card:
    """The card of a network of these widths."""
    facts = (dataset.classes, dataset.mean, dataset.std, dataset.image_size, dataset.in_chans)
    return Card(config.arch, tuple(widths), *facts)


def untrained(card: Card, key: int) -> nn.Module:
    """A network whose weights depend on the key alone; torch's generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(key % 2**63)
        return card.build()


def limits_of(config: RunConfig, dataset: Dataset, model: nn.Module) -> Tuple[ChannelGraph, Tuple[Constraint, ...]]:
    """The channels of a network and the limits that the budget sets on them; training memory is that of robust phases.

    Raises:
        UserError: for a budget that leaves no room to grow.
    """
    work = work_of(config, dataset, torch.device("cpu"))
    graph = trace_channels(model, work.example_input)
    offered = find_grower(config.grower).offered(graph, config.growth)
    return graph, constraints(config.budget, model, graph, work, largest_widths(graph, offered, config.growth.round_to))


def work_of(config: RunConfig, dataset: Dataset, device: torch.device) -> Work:
    """What the network of a run is to do: robust training, which takes the most memory, and inference from images in [0, 1]."""
    example = torch.zeros(1, dataset.in_chans, dataset.image_size, dataset.image_size, device=device)
    training = (config.optimizer.batch_size, config.augmentation.views)
    threads = config.threads or torch.get_num_threads()
    return Work(example, *training, threads, lambda model: deployable(model, dataset.mean, dataset.std).to(device))


def feed_of(config: RunConfig, dataset: Dataset, phase: Phase, device: torch.device, chosen: Optional[np.ndarray] = None) -> Feed:
    """The batches of a phase, of all training images or of those chosen by index."""
    settings = config.augmentation
    pad = round(settings.pad * dataset.image_size / 32)
    output = {"mean": dataset.mean, "std": dataset.std, "memory_format": torch.channels_last}
    era = era_from(settings, phase.views, pad=pad, flip=settings.flip, **output)
    return Feed(dataset.train, era, config.optimizer.batch_size, key_of(config.seed, phase.name), device, chosen)


def key_of(seed: int, name: str) -> int:
    """A 64-bit key for one purpose of a run."""
    words = [seed, *name.encode()]
    return int(np.random.SeedSequence(words).generate_state(1, np.uint64)[0])
