"""The growers by name: how each makes candidates, and whether the network computes the same right after it has grown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Dict, List, Literal, Tuple

import torch

from gearnn.config import GrowthConfig
from gearnn.errors import UserError
from gearnn.growth.candidates import Grower, Offer, Splitting, Task, blank_bank, he_rows, offered_counts, unscored
from gearnn.growth.firefly import firefly
from gearnn.growth.gradmax import gradmax
from gearnn.growth.graph import ChannelGraph
from gearnn.growth.osg import osg
from gearnn.plugins import GROWERS as GROUP
from gearnn.plugins import find_plugin, plugin_names

Choice = Literal["scored", "uniform", "random"]


@dataclass(frozen=True)
class Entry:
    """A registered grower.

    Attributes:
        propose: makes the candidates.
        choice: how the budget is spent: by score, on all groups by the same factor, or on one group after the other at random.
        keeps_function: whether growth leaves the network's outputs as they were.
        discount: of a group's gains as it becomes wider (see `select`).
        kinds: what it offers: splits, new neurons, or both.
        passes: whether it goes through whole epochs of data, rather than a few batches.
        looks: whether it goes through batches at all.
    """

    propose: Grower
    choice: Choice
    keeps_function: bool
    discount: float = 0.0
    kinds: Tuple[str, ...] = ("split", "new")
    passes: bool = False
    looks: bool = True

    def offered(self, graph: ChannelGraph, config: GrowthConfig) -> Dict[str, int]:
        """How many candidates each group will have."""
        splits = "split" in self.kinds
        new = offered_counts(graph, config, scored=splits) if "new" in self.kinds else {}
        return {group.name: new.get(group.name, 0) + (group.width if splits or group.whole else 0) for group in graph.groups}


def variance_transfer(task: Task) -> Offer:
    """New neurons in pairs with the same incoming weights V and opposite outgoing ones Z and −Z, all groups alike.

    V and Z have the variance of the layer's own weights, so that the newborn are neither louder nor quieter than the old (Yuan,
    Savarese & Maire, NeurIPS 2023, arXiv 2306.12700). BatchNorm undoes any rescaling of the old weights, so they are not
    rescaled. Newborn neurons read each other likewise: what they compute is cancelled until training tells the pairs apart.
    """
    counts = offered_counts(task.graph, task.config, scored=False)
    bank = blank_bank(task, counts)

    def alternating(values: torch.Tensor, block: int, dim: int, sign: float) -> torch.Tensor:
        """Every second block becomes the one before it, times a sign."""
        index = torch.arange(values.shape[dim])
        second = (index // block) % 2 == 1
        copied = values.index_select(dim, torch.where(second, index - block, index).to(values.device))
        shape = [-1 if axis == dim else 1 for axis in range(values.dim())]
        return copied * torch.where(second, sign, 1.0).view(shape).to(values)

    for group in task.graph.groups:
        count = counts[group.name]
        for path in group.producers:
            weight = task.weight(path)
            bank.new_rows[path] = alternating(task.draw(count, *weight.shape[1:]) * weight.std(), group.block, 0, 1.0)
        for path in group.followers:
            bank.new_filters[path, group.name] = alternating(bank.new_filters[path, group.name], group.block, 0, 1.0)
        for path in group.consumers:
            weight = task.weight(path)
            columns = task.draw(weight.shape[0], count, weight.shape[2]) * weight.std()
            bank.new_columns[path, group.name] = alternating(columns, group.block, 1, -1.0)
    for path, rows in bank.new_rows.items():
        block = next(group.block for group in task.graph.groups if path in group.producers)
        for span in task.graph.layers[path].inputs:
            if span.group is not None:
                links = task.draw(len(rows), counts[span.group], rows.shape[2]) * task.weight(path).std()
                bank.new_links[path, span.group] = alternating(links, block, 0, 1.0)
    return Offer(bank, unscored(task, counts, splits=False), paired=True)


def net2net(task: Task) -> Offer:
    """Copies of existing neurons with half their outgoing weights each, all groups alike (Chen et al. 2016, arXiv 1511.05641).

    A little noise on the copies lets them part; it is why the function is kept only nearly.
    """
    counts = dict.fromkeys(task.graph.widths(), 0)
    bank = blank_bank(task, counts)
    for path in bank.split:
        weight = task.weight(path)
        bank.split[path] = 0.01 * weight.std() * task.draw(*weight.shape)
    return Offer(bank, unscored(task, counts, splits=True), Splitting(signs=(0.0, 1.0), gains=(0.5, 0.5)))


def random_growth(task: Task) -> Offer:
    """New neurons with random incoming weights, not read at first, in groups drawn at random."""
    counts = offered_counts(task.graph, task.config, scored=False)
    bank = blank_bank(task, counts)
    for group in task.graph.groups:
        for path in group.producers:
            bank.new_rows[path] = he_rows(task, path, counts[group.name])
    return Offer(bank, unscored(task, counts, splits=False), Splitting(gains=(1.0, 0.0)))


_NEW = ("new",)
GROWERS: Dict[str, Entry] = {
    "osg": Entry(osg, "scored", keeps_function=True, discount=2.0),
    "firefly": Entry(firefly, "scored", keeps_function=False, passes=True),
    "gradmax": Entry(gradmax, "uniform", keeps_function=True, kinds=_NEW),
    "variance_transfer": Entry(variance_transfer, "uniform", keeps_function=True, kinds=_NEW, looks=False),
    "net2net": Entry(net2net, "uniform", keeps_function=False, kinds=("split",), looks=False),
    "random": Entry(random_growth, "random", keeps_function=True, kinds=_NEW, looks=False),
}


def register_grower(name: str, entry: Entry) -> None:
    """Make another grower available to `find_grower` under ``name`` in this process.

    A package that is installed does it for every process by an entry point in the group ``gearnn.growers`` that names an `Entry`.
    """
    GROWERS[name] = entry


def list_growers() -> List[str]:
    """The names of all growers: the built-in ones in the order of the documentation, then those of installed packages."""
    return list(dict.fromkeys((*GROWERS, *plugin_names(GROUP))))


def find_grower(name: str) -> Entry:
    """The grower of that name.

    Raises:
        UserError: for an unknown one, or one whose package is broken.
    """
    entry = GROWERS.get(name) or find_plugin(GROUP, name, Entry)
    if entry is None:
        raise UserError(f"there is no grower called {name!r}: choose one of {', '.join(list_growers())}")
    return entry
