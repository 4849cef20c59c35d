"""A loss that runs away: what counts as that, and going back to the last good epoch at half the learning rate."""

from __future__ import annotations

import math
from pathlib import Path

import torch

from gearnn.checkpoint import Progression, State, has_checkpoint, load_state
from gearnn.config import RunConfig
from gearnn.data import Dataset
from gearnn.errors import DivergedError, UserError
from gearnn.materials import card_of, initial_widths, key_of, untrained

FACTOR = 20.0
"""How many times its reference a loss may be, as a mean over an epoch. The reference is the best epoch of the phase, but no less
than the loss of guessing, log K, so that a loss that is small and noisy is not taken for one that runs away."""


def check_epoch(loss: float, state: State, phase: str, classes: int) -> None:
    """Refuse an epoch with weights or statistics that are not numbers, which its last step may have left without a trace in the
    loss, or with a loss far above what the phase has had.

    Args:
        loss: mean over the epoch.
        state: the model after it, the progression before it.
        classes: K.

    Raises:
        DivergedError: with the tensor's name, or the figures.
    """
    epoch, rows = state.progression.epoch + 1, state.progression.metrics
    for name, tensor in state.model.state_dict().items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise DivergedError(f"{name} stopped being finite in epoch {epoch}")
    best = min((row["loss"] for row in rows if row["phase"] == phase), default=0.0)
    reference = max(best, math.log(max(classes, 2)))
    if loss > FACTOR * reference:
        raise DivergedError(f"the loss was {loss:.3g} in epoch {epoch}, more than {FACTOR:g} times {reference:.3g}")


def untrained_state(config: RunConfig, dataset: Dataset) -> State:
    """What a run begins with: the seed network, untrained."""
    card = card_of(config, dataset, initial_widths(config, dataset))
    return State(untrained(card, key_of(config.seed, "model"), config.init), {}, {}, card, Progression())


def gone_back(folder: Path, error: DivergedError, phase: str, config: RunConfig, dataset: Dataset) -> State:
    """The state at the end of the last good epoch, with half the learning rate for all that follows; still to be saved.

    It comes from the checkpoint, as in a run that is resumed: the bits of what follows do not depend on whether the run was
    interrupted here.

    Args:
        folder: of the run; one without a checkpoint yet begins anew.
        phase: the name of the one in progress.

    Raises:
        UserError: if that was done ``config.max_rollbacks`` times before; the folder then holds the last good epoch.
    """
    state = load_state(folder) if has_checkpoint(folder) else untrained_state(config, dataset)
    progression = state.progression
    if progression.rollbacks >= config.max_rollbacks:
        tried = f", after its rate was halved {progression.rollbacks} times" if progression.rollbacks else ""
        raise UserError(
            f"training ran away in phase {phase}{tried} ({error.fault}): look at the images, go on from the last good epoch with "
            f"--resume --max-rollbacks {progression.rollbacks + 3}, or start a new run, in another --out, with a lower "
            f"--optimizer.learning-rate (now {config.optimizer.learning_rate})"
        ) from error
    progression.rollbacks += 1
    progression.remarks.append(
        f"Training ran away in phase {phase} ({error.fault}): it went back to the last good epoch, with the learning rate times "
        f"{rate_factor(progression.rollbacks):g} from there on."
    )
    return state


def rate_factor(rollbacks: int) -> float:
    """On the learning rate, after so many times back."""
    return float(0.5**rollbacks)
