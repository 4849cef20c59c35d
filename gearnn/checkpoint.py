"""What survives a power cut: one file that holds the whole state of a run after an epoch, and the one before it."""

from __future__ import annotations

import json
import os
import warnings
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Dict, List

from torch import Tensor, nn

from gearnn.engine.errors import reason
from gearnn.engine.files import UNFINISHED, flush_folder
from gearnn.engine.json_text import parse_json
from gearnn.errors import UserError
from gearnn.network import Card, load_network, read_tensors, write_tensors


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
        allotted: with a time budget, when the phase in progress began, in seconds of the run, how many it may take, and how many
            it was to take at first.
        remarks: faults that the run has lived through, one sentence each, for the reader of its result.
        micro_batch: images that go through the network at a time, since memory ran out; 0: whole batches.
        rollbacks: times that training ran away and went back an epoch; each has halved the learning rate for what follows.
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
    remarks: List[str] = field(default_factory=list)
    micro_batch: int = 0
    rollbacks: int = 0


@dataclass
class State:
    """All of a run between two epochs; ``newborn`` masks weights that have just come with growth, by parameter name."""

    model: nn.Module
    momentum: Dict[str, Tensor]
    newborn: Dict[str, Tensor]
    card: Card
    progression: Progression


def save_checkpoint(path: Path, state: State) -> None:
    """Write the state of a run to one safetensors file, whole or not at all, with a checksum.

    Raises:
        UserError: if it cannot be written.
    """
    parts = {"model": state.model.state_dict(), "momentum": state.momentum, "newborn": state.newborn}
    tensors = {f"{part}.{name}": tensor for part, found in parts.items() for name, tensor in found.items()}
    write_tensors(path, tensors, {**state.card.to_metadata(), "progression": json.dumps(vars(state.progression))})


def load_checkpoint(path: Path) -> State:
    """Read a state back; the model is in train mode, on the CPU.

    Raises:
        UserError: if the file is missing, torn, altered, or not a checkpoint.
    """
    tensors, metadata = read_tensors(path)
    try:
        card = Card.from_metadata(metadata)
        progression = _progression(metadata["progression"])
        model = card.rebuild(_part(tensors, "model."))
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise UserError(
            f"{path} is not a checkpoint of this tool ({reason(error)}): delete the run folder and start anew"
        ) from error
    return State(model, _part(tensors, "momentum."), _part(tensors, "newborn."), card, progression)


def _progression(text: str) -> Progression:
    """A progression out of JSON, every field of its type; raises TypeError or ValueError."""
    found, blank = Progression(**parse_json(text)), vars(Progression())
    kinds = {name: (int, float) if isinstance(value, float) else (type(value),) for name, value in blank.items()}
    fits = all(type(value) in kinds[name] for name, value in vars(found).items())
    rows = (*found.metrics, *found.phases, *found.steps) if fits else (None,)
    if not all(isinstance(row, dict) for row in rows) or min(found.phase, found.epoch) < 0:
        raise ValueError("its progression is not what it must be")
    for name in (record["keeps"] for record in found.phases if record.get("keeps")):
        if not isinstance(name, str) or Path(name).name != name or name.startswith(".") or not name.isprintable():
            raise ValueError("a network in it has a name that is no file's")
    return found


def checkpoint_path(folder: Path) -> Path:
    """Where a run keeps its last checkpoint."""
    return folder / "checkpoint" / "last.safetensors"


def previous_path(folder: Path) -> Path:
    """Where a run keeps the checkpoint before the last."""
    return folder / "checkpoint" / "previous.safetensors"


def network_path(folder: Path, name: str) -> Path:
    """Where a run keeps one of its networks."""
    return folder / "networks" / f"{name}.safetensors"


def has_checkpoint(folder: Path) -> bool:
    """Whether a run has come to its first checkpoint."""
    return checkpoint_path(folder).exists() or previous_path(folder).exists()


def save_state(folder: Path, state: State) -> None:
    """Make the last checkpoint the one before, and write a new one; at every instant there is a whole one."""
    last, previous = checkpoint_path(folder), previous_path(folder)
    if last.exists() and not (previous.exists() and last.samefile(previous)):
        second = last.with_name(f".{previous.name}{UNFINISHED}")  # a second name for the last, since its own goes to the new one
        with suppress(FileNotFoundError):
            second.unlink()
        try:
            os.link(str(last), str(second))
        except OSError:  # a file system without hard links: until the new one is there, only the one before is
            second = last
        try:
            second.replace(previous)
        except OSError as error:
            raise UserError(f"cannot write {previous} ({error.strerror or error}): free some space") from error
    save_checkpoint(last, state)


def load_state(folder: Path) -> State:
    """The last state of a run that is whole, with the networks that were kept by then; of two, the one before is the second.

    Where the last cannot be used, a warning and a remark of the state say so, and the one before takes its place.

    Raises:
        UserError: if neither can be used.
    """
    last, previous = checkpoint_path(folder), previous_path(folder)
    try:
        return _whole(folder, last)
    except UserError as error:
        fault = _what(error)
    try:
        state = _whole(folder, previous)
    except UserError as error:
        raise UserError(
            f"the run in {folder} cannot be continued, as neither of its checkpoints can be used ({fault}; {_what(error)}): "
            "restore the folder from a copy, or delete it and start anew"
        ) from error
    previous.replace(last)
    flush_folder(last.parent)
    remark = f"The last checkpoint could not be used ({fault}): the run went on from the one before."
    warnings.warn(remark, stacklevel=2)
    state.progression.remarks.append(remark)
    return state


def _what(error: UserError) -> str:
    """What is wrong, without how to cure it."""
    return str(error).rpartition(": ")[0]


def _whole(folder: Path, path: Path) -> State:
    """A checkpoint, if it and the networks kept by then are whole."""
    state = load_checkpoint(path)
    for name in {record["keeps"] for record in state.progression.phases if record.get("keeps")}:
        load_network(network_path(folder, name))
    return state


def _part(tensors: Dict[str, Tensor], prefix: str) -> Dict[str, Tensor]:
    return {name[len(prefix) :]: tensor for name, tensor in tensors.items() if name.startswith(prefix)}
