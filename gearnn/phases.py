"""GEARnn-1 and GEARnn-2 as lists of phases."""

from __future__ import annotations

from dataclasses import dataclass
from typing import List, Literal, Optional

from gearnn.config import RunConfig
from gearnn.errors import UserError


@dataclass(frozen=True)
class Phase:
    """One stretch of a run.

    Attributes:
        name: unique in its run.
        kind: train the network, grow it, or start a new one at the present widths and train that ("fresh").
        epochs: passes over the training set.
        views: J; 1 trains on clean images (padded, cropped and flipped).
        keeps: the name under which the network is kept and measured when the phase ends.
        label: what that network is, for tables.
    """

    name: str
    kind: Literal["train", "grow", "fresh"]
    epochs: int
    views: int
    keeps: Optional[str] = None
    label: str = ""


def phases_of(config: RunConfig) -> List[Phase]:
    """The phases of a run (GEARnn, arXiv 2410.07691).

    gearnn-2: seed → growth → regrow, all on clean images, then ERA. gearnn-1: the first three on ERA's views.

    Raises:
        UserError: for less than one epoch, or fewer than two views in a robust phase.
    """
    epochs, views = config.epochs, config.augmentation.views
    if min(epochs.seed, epochs.regrow, epochs.era, config.growth.epochs) < 1:
        raise UserError(
            "every phase needs at least 1 epoch: see --epochs.seed, --epochs.regrow, --epochs.era and --growth.epochs"
        )
    if views < 2:
        raise UserError(
            f"robust training needs at least 2 views (the clean and an augmented one), not {views}: see --augmentation.views"
        )
    if config.method == "gearnn-1":
        phases = [
            Phase("seed", "train", epochs.seed, views, "seed", "seed network, ERA-trained"),
            Phase("growth", "grow", config.growth.epochs, views),
            Phase("regrow", "train", epochs.regrow, views, "robust", "grown network, ERA-trained"),
        ]
    else:
        phases = [
            Phase("seed", "train", epochs.seed, 1, "seed", "seed network"),
            Phase("growth", "grow", config.growth.epochs, 1),
            Phase("regrow", "train", epochs.regrow, 1, "grown", "grown network, before ERA"),
            Phase("era", "train", epochs.era, views, "robust", "grown network, after ERA"),
        ]
    if config.baseline:
        total = sum(phase.epochs for phase in phases)
        phases.append(Phase("baseline", "fresh", total, 1, "baseline", "same size, trained clean from the start"))
    return phases
