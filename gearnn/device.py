"""Which device and how many threads a run uses."""

from __future__ import annotations

from contextlib import contextmanager
from typing import Iterator, Optional

import torch

from gearnn.engine.environment import usable_cores
from gearnn.errors import UserError


def choose_device(name: str, local_rank: int = 0, local_size: int = 1) -> torch.device:
    """``auto`` takes a GPU if torch sees one; an explicit name that cannot be had is refused.

    Of several processes on a machine each takes the GPU of its number, and with ``auto`` none if there are fewer.

    Raises:
        UserError: for a device that is unknown or not there.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() and torch.cuda.device_count() >= local_size else "cpu"
    if name == "cuda" and local_size > 1:
        name = f"cuda:{local_rank}"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UserError(f"there is no device called {name!r}: use auto, cpu or cuda") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UserError("torch sees no CUDA device here: use --device cpu, or install a torch build with CUDA and its driver")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UserError(f"there is no CUDA device {device.index} here: the last one is {torch.cuda.device_count() - 1}")
    if device.type not in ("cpu", "cuda"):
        raise UserError(f"training on {device.type!r} is not supported: use auto, cpu or cuda")
    return device


@contextmanager
def full_precision() -> Iterator[None]:
    """Convolutions on a GPU in float32: cuDNN takes TF32 for them by default, whose results are a thousandth apart."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before


def set_threads(threads: Optional[int], local_size: int = 1) -> int:
    """Set torch's CPU threads to ``threads``, or to all that this process may use, shared with the others of the machine;
    returns the number.

    Raises:
        UserError: for less than one thread.
    """
    if threads is not None and threads < 1:
        raise UserError(f"--threads must be at least 1, not {threads}")
    count = threads or max(1, usable_cores() // local_size)
    torch.set_num_threads(count)
    return count
