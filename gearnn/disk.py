"""A full disk, and a run folder that is gone: training waits for the one and ends at the other."""

from __future__ import annotations

import errno
import shutil
import sys
import time
from pathlib import Path
from typing import Callable, Optional, TypeVar

from gearnn.checkpoint import State, has_checkpoint
from gearnn.engine.errors import EngineError
from gearnn.errors import UserError
from gearnn.progress import Progress

T = TypeVar("T")
EVERY = 3.0
"""Seconds between two tries."""
_FULL = (errno.ENOSPC, errno.EDQUOT)
LABEL = "waiting for room on the disk"


def is_full(error: Optional[BaseException]) -> bool:
    """Whether an error comes from a full disk or a used-up quota, at whatever remove."""
    while error is not None:
        if isinstance(error, OSError) and (error.errno in _FULL or "os error 28" in str(error)):  # safetensors gives text only
            return True
        error = error.__cause__ or error.__context__
    return False


def patiently(
    write: Callable[[], T],
    folder: Path,
    progress: Progress,
    needed: Optional[int] = None,
    sleep: Optional[Callable[[float], None]] = None,
) -> T:
    """Do what writes into ``folder``; where its disk is full, say so, wait, and do it again until there is room.

    Writers here leave no half-written files behind, so each try starts from the state before it. ``progress`` is called at each
    try, so that Ctrl-C ends the wait.

    Args:
        needed: bytes that the write takes, for the message.
        sleep: seconds → None; time.sleep by default.

    Raises:
        UserError, EngineError: what the write raises for any other reason.
    """
    told = False
    while True:
        try:
            result = write()
            break
        except (UserError, EngineError, OSError) as error:
            if not is_full(error):
                raise
        if not told:
            print(message(folder, needed), file=sys.stderr, flush=True)
            told = True
        progress(LABEL, 0, 1)
        (sleep or time.sleep)(EVERY)
    if told:
        print(f"there is room again on the disk of {folder}: going on", file=sys.stderr, flush=True)
        progress(LABEL, 1, 1)
    return result


def message(folder: Path, needed: Optional[int] = None) -> str:
    """What is full, how much is free and needed, and what happens now."""
    try:
        free = f"{shutil.disk_usage(str(folder)).free / 1e6:.1f} MB free"
    except OSError:
        free = "no room"
    wanted = f", about {needed / 1e6:.1f} MB needed" if needed else ""
    return (
        f"the disk of {folder} is full ({free}{wanted}): the run waits and goes on by itself once there is room; Ctrl-C stops it "
        "(to be resumed)"
    )


def check_still_there(folder: Path) -> None:
    """Notice that a run folder, in which there was a checkpoint, was deleted or moved while the run was in progress.

    Raises:
        UserError: then; nothing is written into its place.
    """
    if not has_checkpoint(folder):
        raise UserError(
            f"the run folder {folder} has lost its checkpoint while the run was in progress (was it deleted or moved?): put it "
            "back and go on with --resume, or start anew"
        )


def size_of(state: State) -> int:
    """Bytes of a checkpoint, but for its header."""
    tensors = (*state.model.state_dict().values(), *state.momentum.values(), *state.newborn.values())
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
