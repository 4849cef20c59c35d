"""What a cell's own result does not tell: when its processes ran, for how long, and how busy the machine was meanwhile."""

from __future__ import annotations

import contextlib
import datetime
import os
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional

from gearnn.files import read_json, write_json


@dataclass
class Attempt:
    """One process of a cell. It is written down as it goes on, so that a killed harness loses seconds of it only."""

    path: Path
    before: List[Dict[str, Any]]
    record: Dict[str, Any]
    began: float = field(default_factory=time.monotonic)
    written: float = 0.0
    loads: List[float] = field(default_factory=list)

    @classmethod
    def start(cls, folder: Path) -> Attempt:
        """Begin an attempt in a cell's folder."""
        attempt = cls(folder / "attempts.json", attempts(folder), {"started": now(), "revision": revision()})
        attempt.end()
        return attempt

    @property
    def seconds(self) -> float:
        """Since its start."""
        return time.monotonic() - self.began

    def beat(self, every: float) -> None:
        """Write down that it still goes on, at most once in ``every`` seconds."""
        if time.monotonic() - self.written >= every:
            self.end()

    def end(self) -> None:
        """Write down how long it has taken, and the mean load of the machine (processes that want to run)."""
        self.written = time.monotonic()
        with contextlib.suppress(OSError):
            self.loads.append(os.getloadavg()[0])
        self.record["seconds"] = round(self.seconds, 1)
        if self.loads:
            self.record["load"] = round(sum(self.loads) / len(self.loads), 2)
        write_json(self.path, [*self.before, self.record])


def attempts(folder: Path) -> List[Dict[str, Any]]:
    """The attempts at a cell so far: {"started", "revision", "seconds", "load"}."""
    path = folder / "attempts.json"
    return list(read_json(path)) if path.exists() else []


def ended(attempt: Mapping[str, Any]) -> str:
    """When an attempt ended, or was last known to go on."""
    end = datetime.datetime.fromisoformat(attempt["started"]) + datetime.timedelta(seconds=attempt.get("seconds", 0.0))
    return end.isoformat(timespec="seconds")


def revision() -> Optional[str]:
    """The commit of this source tree, with "-dirty" if files differ from it; None where that cannot be told."""
    command = ["git", "describe", "--always", "--dirty", "--exclude", "*"]
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        found = subprocess.run(command, cwd=str(Path(__file__).parent), capture_output=True, text=True, check=True, timeout=60)
        return found.stdout.strip()
    return None


def now() -> str:
    """Local time to the second, with its offset from UTC."""
    return datetime.datetime.now().astimezone().isoformat(timespec="seconds")
