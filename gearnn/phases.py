"""GEARnn-1 and GEARnn-2 as lists of phases."""

from __future__ import annotations

from dataclasses import dataclass
from typing import List, Literal, Optional

from gearnn.config import RunConfig
from gearnn.errors import UserError

MOST_SHOTS = 4
"""Steps in which ``--shots auto`` would reach the budget if every one of them paid."""


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
        shot: the growth step that a phase belongs to, from 1; 0 for phases that belong to none.
        fraction: how far a growth step goes towards the budget, from the cost of the network at that moment to the limit on a
            logarithmic scale: 1/(k − s) in step s = 0 … k − 1 of k, so that costs form a geometric series.
        judged: the network's accuracy on held-out training images decides whether growth goes on.
    """

    name: str
    kind: Literal["train", "grow", "fresh"]
    epochs: int
    views: int
    keeps: Optional[str] = None
    label: str = ""
    shot: int = 0
    fraction: float = 1.0
    judged: bool = False


def phases_of(config: RunConfig) -> List[Phase]:
    """The phases of a run (GEARnn, arXiv 2410.07691).

    gearnn-2: seed → growth → regrow, all on clean images, then ERA. gearnn-1: the first three on ERA's views. With several
    shots, each growth step is followed by a regrow phase of its own. fixed: clean images, then ERA, without growth; either may
    be left out.

    Raises:
        UserError: for less than one epoch, or fewer than two views in a robust phase.
    """
    epochs, views = config.epochs, config.augmentation.views
    if config.method == "fixed":
        return _fixed(config)
    if min(epochs.seed, epochs.regrow, epochs.era, config.growth.epochs) < 1:
        raise UserError(
            "every phase needs at least 1 epoch: see --epochs.seed, --epochs.regrow, --epochs.era and --growth.epochs"
        )
    _check_views(views)
    robust = config.method == "gearnn-1"
    trained, judged = views if robust else 1, config.shots == "auto"
    shots = MOST_SHOTS if config.shots == "auto" else config.shots
    how = ", ERA-trained" if robust else ""
    phases = [Phase("seed", "train", epochs.seed, trained, "seed", f"seed network{how}", judged=judged)]
    kept = ("robust", "grown network, ERA-trained") if robust else ("grown", "grown network, before ERA")
    for shot in range(1, shots + 1):
        number = f"-{shot}" if shots > 1 else ""
        fraction = 1 / (shots - shot + 1)
        phases += [
            Phase(f"growth{number}", "grow", config.growth.epochs, trained, shot=shot, fraction=fraction, judged=judged),
            Phase(f"regrow{number}", "train", epochs.regrow, trained, *kept, shot=shot, judged=judged),
        ]
    if not robust:
        phases.append(Phase("era", "train", epochs.era, views, "robust", "grown network, after ERA"))
    return phases + _baseline(config, phases)


def _fixed(config: RunConfig) -> List[Phase]:
    epochs = config.epochs
    if min(epochs.seed, epochs.era) < 0 or epochs.seed + epochs.era < 1:
        raise UserError("training without growth needs at least 1 epoch: see --epochs.seed (clean) and --epochs.era (robust)")
    phases = []
    if epochs.seed:
        phases.append(Phase("clean", "train", epochs.seed, 1, "clean", "not grown, trained clean"))
    if epochs.era:
        _check_views(config.augmentation.views)
        how = "after ERA" if epochs.seed else "ERA-trained"
        phases.append(Phase("era", "train", epochs.era, config.augmentation.views, "robust", f"not grown, {how}"))
    return phases + _baseline(config, phases)


def _check_views(views: int) -> None:
    if views < 2:
        raise UserError(
            f"robust training needs at least 2 views (the clean and an augmented one), not {views}: see --augmentation.views"
        )


def _baseline(config: RunConfig, phases: List[Phase]) -> List[Phase]:
    if not config.baseline:
        return []
    total = sum(phase.epochs for phase in phases)
    return [Phase("baseline", "fresh", total, 1, "baseline", "same size, trained clean from the start")]
