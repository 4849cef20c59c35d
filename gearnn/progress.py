"""How long-running work says how far it is: a plain callable, so that no room depends on a terminal."""

from __future__ import annotations

from typing import Callable

Progress = Callable[[str, int, int], None]
"""``progress(label, done, total)``: called as work goes on; ``done == total`` ends the task of that label."""

Say = Callable[[str], None]
"""``say(line)``: something that a person should read while work goes on."""


def no_progress(label: str, done: int, total: int) -> None:
    """Say nothing."""


def say_nothing(line: str) -> None:
    """Say nothing."""
