"""GEARnn-1, GEARnn-2 and training without growth as lists of phases."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Dict, List, Literal, Optional

from gearnn.config import Augmentation, RunConfig
from gearnn.errors import UserError

MOST_SHOTS = 4
"""Steps in which ``--shots auto`` would reach the budget if every one of them paid."""


@dataclass(frozen=True)
class Course:
    """What the learning rate does in a phase: whether it warms up at its start, and falls to 0 towards its end."""

    warms_up: bool = True
    falls: bool = True


WHOLE = Course()


@dataclass(frozen=True)
class Phase:
    """One stretch of a run.

    Attributes:
        name: unique in its run.
        kind: train the network, grow it, or start a new one at the present widths and train that ("fresh").
        epochs: passes over the training set.
        views: J, of each image; all are padded, cropped and flipped alike.
        augmented: the views are clean and augmented ones, or augmented ones only; else there is one, clean.
        keeps: the name under which the network is kept and measured when the phase ends.
        label: what that network is, for tables.
        shot: the growth step that a phase belongs to, from 1; 0 for phases that belong to none.
        fraction: how far a growth step goes towards the budget, from the cost of the network at that moment to the limit on a
            logarithmic scale: 1/(k − s) in step s = 0 … k − 1 of k, so that costs form a geometric series.
        judged: the network's accuracy on held-out training images decides whether growth goes on.
        course: of the learning rate.
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
    augmented: bool = False
    course: Course = WHOLE


def phases_of(config: RunConfig) -> List[Phase]:
    """The phases of a run (GEARnn, arXiv 2410.07691).

    gearnn-2: seed → growth → regrow, all on clean images, then ERA; with a single shot, regrow may be left out. gearnn-1: the
    first three on ERA's views. With several shots, each growth step is followed by a regrow phase of its own. fixed: clean
    images, then ERA, without growth; either may be left out.

    Raises:
        UserError: for less than one epoch, or fewer than two views in a robust phase.
    """
    epochs, views = config.epochs, config.augmentation.views
    if config.method == "fixed":
        return _fixed(config)
    robust = config.method == "gearnn-1"
    at_once = epochs.regrow == 0 and config.shots == 1 and not robust  # what has grown goes on to robust training
    needed = (epochs.seed, epochs.era, config.growth.epochs, *(() if at_once else (epochs.regrow,)))
    if min(needed) < 1:
        raise UserError(
            "every phase needs at least 1 epoch: see --epochs.seed, --epochs.regrow (0 with gearnn-2 and one growth step only), "
            "--epochs.era and --growth.epochs"
        )
    _check_views(config.augmentation)
    trained, judged = views if robust else 1, config.shots == "auto"
    shots = MOST_SHOTS if config.shots == "auto" else config.shots
    how = ", ERA-trained" if robust else ""
    common: Dict[str, Any] = {"judged": judged, "augmented": robust}
    phases = [Phase("seed", "train", epochs.seed, trained, "seed", f"seed network{how}", **common)]
    kept = ("robust", "grown network, ERA-trained") if robust else ("grown", "grown network, before ERA")
    for shot in range(1, shots + 1):
        number = f"-{shot}" if shots > 1 else ""
        fraction = 1 / (shots - shot + 1)
        phases.append(Phase(f"growth{number}", "grow", config.growth.epochs, trained, shot=shot, fraction=fraction, **common))
        if not at_once:
            phases.append(Phase(f"regrow{number}", "train", epochs.regrow, trained, *kept, shot=shot, **common))
    if not robust:
        phases.append(Phase("era", "train", epochs.era, views, "robust", "grown network, after ERA", augmented=True))
    return _scheduled(phases, config) + _baseline(config, phases)


def _fixed(config: RunConfig) -> List[Phase]:
    epochs = config.epochs
    if min(epochs.seed, epochs.era) < 0 or epochs.seed + epochs.era < 1:
        raise UserError("training without growth needs at least 1 epoch: see --epochs.seed (clean) and --epochs.era (robust)")
    phases = []
    if epochs.seed:
        phases.append(Phase("clean", "train", epochs.seed, 1, "clean", "not grown, trained clean"))
    if epochs.era:
        _check_views(config.augmentation)
        how = "after ERA" if epochs.seed else "ERA-trained"
        phases.append(Phase("era", "train", epochs.era, config.augmentation.views, "robust", f"not grown, {how}", augmented=True))
    return _scheduled(phases, config) + _baseline(config, phases)


def _check_views(settings: Augmentation) -> None:
    if settings.views < (2 if settings.clean_view else 1):
        raise UserError(
            f"robust training needs at least 2 views (the clean and an augmented one), not {settings.views}: see "
            "--augmentation.views and --augmentation.no-clean-view"
        )


def _baseline(config: RunConfig, phases: List[Phase]) -> List[Phase]:
    if not config.baseline:
        return []
    total = sum(phase.epochs for phase in phases)
    return [Phase("baseline", "fresh", total, 1, "baseline", "same size, trained clean from the start")]


def _scheduled(phases: List[Phase], config: RunConfig) -> List[Phase]:
    """The phases with the courses of their learning rates."""
    if config.optimizer.schedule == "phase":
        return phases
    trained = [index for index, phase in enumerate(phases) if phase.kind == "train"]
    return [replace(phase, course=Course(i == trained[0], i == trained[-1])) for i, phase in enumerate(phases)]


def outline(phases: List[Phase], by_the_clock: bool = False) -> str:
    """The phases in a line for people: names, and epochs where the clock does not decide them."""
    parts = []
    for phase in phases:
        epochs = f"{phase.epochs} epoch{'s' if phase.epochs != 1 else ''}"
        how = " on augmented images" if phase.augmented and phase.kind != "grow" else ""
        shown = phase.kind != "grow" and not by_the_clock
        parts.append(f"{phase.name} ({epochs}{how})" if shown else phase.name)
    return ", ".join(parts)
