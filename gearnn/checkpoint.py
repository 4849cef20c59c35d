"""What survives a power cut: one file that holds the whole state of a run after an epoch."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Dict, List

from torch import Tensor, nn

from gearnn.errors import UserError
from gearnn.network import Card, read_tensors, write_tensors


@dataclass
class Progression:
    """How far a run is: ``epoch`` epochs of phase number ``phase`` are done, and what the finished ones left behind.

    Attributes:
        metrics: one row per finished epoch, as in metrics.jsonl.
        phases: one record per finished phase (name, epochs, seconds, …).
        spent: training seconds, images, peak memory and joules of the phase in progress.
        growth: the growth decision, once taken; of several, what they add up to.
        scaler: state of mixed precision's loss scaling; empty where it is off.
        steps: the decisions of all growth steps so far.
        held_out: accuracy on held-out training images before growth and after each step, where they judge it.
        elapsed: seconds of the run so far, all sessions together.
        plan: with a time budget, what the phases and the end of the run were found to take (see `gearnn.timing`).
        allotted: with a time budget, when the phase in progress began, in seconds of the run, and how many it may take.
    """

    phase: int = 0
    epoch: int = 0
    metrics: List[Dict[str, Any]] = field(default_factory=list)
    phases: List[Dict[str, Any]] = field(default_factory=list)
    spent: Dict[str, float] = field(default_factory=dict)
    growth: Dict[str, Any] = field(default_factory=dict)
    scaler: Dict[str, Any] = field(default_factory=dict)
    steps: List[Dict[str, Any]] = field(default_factory=list)
    held_out: List[float] = field(default_factory=list)
    elapsed: float = 0.0
    plan: Dict[str, Any] = field(default_factory=dict)
    allotted: Dict[str, float] = field(default_factory=dict)


@dataclass
class State:
    """All of a run between two epochs; ``newborn`` masks weights that have just come with growth, by parameter name."""

    model: nn.Module
    momentum: Dict[str, Tensor]
    newborn: Dict[str, Tensor]
    card: Card
    progression: Progression


def save_checkpoint(path: Path, state: State) -> None:
    """Write the state of a run to one safetensors file, whole or not at all."""
    parts = {"model": state.model.state_dict(), "momentum": state.momentum, "newborn": state.newborn}
    tensors = {f"{part}.{name}": tensor for part, found in parts.items() for name, tensor in found.items()}
    write_tensors(path, tensors, {**state.card.to_metadata(), "progression": json.dumps(vars(state.progression))})


def load_checkpoint(path: Path) -> State:
    """Read a state back; the model is in train mode, on the CPU.

    Raises:
        UserError: if the file is missing, torn, or not a checkpoint.
    """
    tensors, metadata = read_tensors(path)
    try:
        card = Card.from_metadata(metadata)
        progression = Progression(**json.loads(metadata["progression"]))
        model = card.build()
        model.load_state_dict(_part(tensors, "model."))
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise UserError(f"{path} is not a checkpoint of this tool ({error}): delete the run folder and start anew") from error
    return State(model, _part(tensors, "momentum."), _part(tensors, "newborn."), card, progression)


def _part(tensors: Dict[str, Tensor], prefix: str) -> Dict[str, Tensor]:
    return {name[len(prefix) :]: tensor for name, tensor in tensors.items() if name.startswith(prefix)}
