"""What survives a power cut: one file that holds the whole state of a run after an epoch."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Dict, List, Tuple

from torch import Tensor, nn

from gearnn.errors import UserError
from gearnn.network import Card, read_tensors, write_tensors


@dataclass
class Progression:
    """How far a run is: ``epoch`` epochs of phase number ``phase`` are done, and what the finished ones left behind.

    Attributes:
        metrics: one row per finished epoch, as in metrics.jsonl.
        phases: one record per finished phase (name, epochs, seconds, …).
        spent: training seconds, images and peak memory of the phase in progress.
        growth: the growth decision, once taken.
        scaler: state of mixed precision's loss scaling; empty where it is off.
    """

    phase: int = 0
    epoch: int = 0
    metrics: List[Dict[str, Any]] = field(default_factory=list)
    phases: List[Dict[str, Any]] = field(default_factory=list)
    spent: Dict[str, float] = field(default_factory=dict)
    growth: Dict[str, Any] = field(default_factory=dict)
    scaler: Dict[str, Any] = field(default_factory=dict)


def save_checkpoint(path: Path, model: nn.Module, momentum: Dict[str, Tensor], card: Card, progression: Progression) -> None:
    """Write the state of a run to one safetensors file, whole or not at all."""
    tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    tensors.update({f"momentum.{name}": tensor for name, tensor in momentum.items()})
    write_tensors(path, tensors, {**card.to_metadata(), "progression": json.dumps(vars(progression))})


def load_checkpoint(path: Path) -> Tuple[nn.Module, Dict[str, Tensor], Card, Progression]:
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
    return model, _part(tensors, "momentum."), card, progression


def _part(tensors: Dict[str, Tensor], prefix: str) -> Dict[str, Tensor]:
    return {name[len(prefix) :]: tensor for name, tensor in tensors.items() if name.startswith(prefix)}
