"""Counts, bytes and durations as people write them: "1M", "512MiB", "45m"."""

from __future__ import annotations

import math
import re
from typing import Dict, Union

from gearnn.errors import UserError

_COUNTS: Dict[str, float] = {"": 1, "k": 1e3, "m": 1e6, "g": 1e9, "b": 1e9}
_BYTES: Dict[str, float] = {
    **{"": 1, "b": 1, "kb": 1e3, "k": 1e3, "mb": 1e6, "m": 1e6, "gb": 1e9, "g": 1e9},
    **{"kib": 2**10, "mib": 2**20, "gib": 2**30},
}
_SECONDS: Dict[str, float] = {"": 1, "s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}
_NUMBER = r"((?:\d+(?:\.\d*)?|\.\d+)(?:e\d+)?)"


def parse_count(given: Union[int, str], option: str) -> int:
    """A number of things: 250000, "250,000", "400k", "1.5M", "2G".

    Raises:
        UserError: naming ``option``, for anything else and for less than one.
    """
    return _whole(given, _COUNTS, option, "a count such as 250000, 400k or 1M")


def parse_bytes(given: Union[int, str], option: str) -> int:
    """A number of bytes: 1048576, "512MiB" (2²⁰), "1GB" (10⁹), "800 kB".

    Raises:
        UserError: naming ``option``, for anything else and for less than one.
    """
    return _whole(given, _BYTES, option, "a number of bytes such as 512MiB, 800kB or 1GB")


def parse_duration(given: str, option: str) -> float:
    """Seconds: "600s", "45m", "1h30m", "90" (seconds).

    Raises:
        UserError: naming ``option``, for anything else and for zero.
    """
    parts = re.findall(r"(\d+(?:\.\d+)?)([a-z]*)", _plain(given))
    whole = "".join(number + unit for number, unit in parts) == _plain(given)
    # A bare number is seconds only where it stands alone: "1h30" could mean anything.
    if parts and whole and all(unit in _SECONDS and (unit or len(parts) == 1) for _, unit in parts):
        seconds = sum(float(number) * _SECONDS[unit] for number, unit in parts)
        if 0 < seconds < math.inf:
            return seconds
    raise UserError(f"{option} must be a duration such as 45m, 1h30m or 600s, not {given!r}")


def _whole(given: Union[int, str], units: Dict[str, float], option: str, wanted: str) -> int:
    found = re.fullmatch(_NUMBER + r"([a-z]*)", _plain(str(given)))
    if found and found.group(2) in units:
        number = float(found.group(1)) * units[found.group(2)]
        if 1 <= number < 2**63:
            return round(number)
    raise UserError(f"{option} must be {wanted}, not {given!r}")


def _plain(text: str) -> str:
    return re.sub(r"[\s,_]", "", text).lower()


def number_of(count: int, thing: str) -> str:
    """As "1 thread" and "2 threads"."""
    return f"{count:,} {thing}{'s' if count != 1 else ''}"
