"""JSON from outside, in bounded time: whatever is wrong with it is a ValueError."""

from __future__ import annotations

import json
from typing import Any

_DIGITS = 400  # more than any number of ours; reading longer ones takes time that grows with the square of their length


def parse_json(text: str) -> Any:
    """As `json.loads`; raises ValueError also for what is nested too deep and for integers of more than 400 digits."""
    try:
        return json.loads(text, parse_int=_integer)
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error


def _integer(digits: str) -> int:
    if len(digits) > _DIGITS:
        raise ValueError("a number in it is too long")
    return int(digits)
