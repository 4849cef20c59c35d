"""How much memory TensorRT may use while it builds: a part of what is free, since a board's GPU shares it with all else."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from gearnn.engine.errors import EngineError

_SHARE, _CAP_MB, _UNKNOWN_MB, _LEAST_MB = 4, 1024, 256, 16


@dataclass(frozen=True)
class Workspace:
    """Attributes: mb: the limit, MiB; available_mb: memory that was available, MiB, None if not known; chosen: by whom."""

    mb: int
    available_mb: Optional[int]
    chosen: str

    def __str__(self) -> str:
        free = "available memory not known" if self.available_mb is None else f"{self.available_mb} MiB of memory available"
        return f"workspace {self.mb} MiB ({self.chosen}; {free})"


def choose_workspace(asked_mb: Optional[int] = None, root: Path = Path("/")) -> Workspace:
    """A quarter of the available memory, at most 1 GiB and at least 16 MiB; or what was asked for.

    Args:
        asked_mb: MiB; None chooses.
        root: of the file system that ``proc/meminfo`` is read from.

    Raises:
        EngineError: if less than 1 MiB was asked for.
    """
    available = available_mb(root)
    if asked_mb is not None:
        if asked_mb < 1:
            raise EngineError(
                f"a workspace of {asked_mb} MiB is too small: give at least 1, or leave it out for a quarter of what is free"
            )
        return Workspace(asked_mb, available, "as asked")
    if available is None:
        return Workspace(_UNKNOWN_MB, None, "the default")
    return Workspace(max(_LEAST_MB, min(available // _SHARE, _CAP_MB)), available, "a quarter of what is free, 1 GiB at most")


def available_mb(root: Path = Path("/")) -> Optional[int]:
    """MemAvailable of Linux, MiB: what can be had without swapping; None where it cannot be read."""
    try:
        lines = (root / "proc" / "meminfo").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return None
    for line in lines:
        name, _, value = line.partition(":")
        words = value.split()
        if name == "MemAvailable" and words and words[0].isdigit():
            return int(words[0]) // 1024
    return None
