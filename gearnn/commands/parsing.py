"""Options from typed dataclasses, in the same way for every command."""

from __future__ import annotations

import inspect
import json
from typing import Any, List, Optional, Type, TypeVar

import tyro

from gearnn.errors import UserError

T = TypeVar("T")


def parse(form: Type[T], arguments: List[str], command: str, default: Optional[T] = None) -> T:
    """Fill a dataclass from arguments; wrong ones end the process with exit code 2 and a message, ``--help`` with 0."""
    # Given as it is: a parsed docstring would lose its examples.
    description = inspect.cleandoc(form.__doc__ or "")
    start = tyro.MISSING_NONPROP if default is None else default
    options = tyro.cli(form, args=arguments, default=start, prog=f"gearnn {command}", description=description)
    seed = getattr(options, "seed", None)
    if seed is not None and seed < 0:
        raise UserError(f"--seed must be 0 or more, not {seed}")
    return options


def print_json(value: Any) -> None:
    """The result on standard output, strictly JSON."""
    print(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False))
