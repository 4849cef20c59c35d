"""Files that are written whole or not at all."""

from __future__ import annotations

import json
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Iterator

from gearnn.engine import files
from gearnn.engine.errors import EngineError
from gearnn.engine.json_text import parse_json
from gearnn.errors import UserError

_LARGEST = 1 << 28  # bytes of a JSON file: ours have some hundred thousand


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """`gearnn.engine.files.replacing`, with this side's error.

    Raises:
        UserError: if the folder cannot be written to, or the disk is full.
    """
    try:
        with files.replacing(path) as temporary:
            yield temporary
    except EngineError as error:
        raise UserError(str(error)) from error


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write indented JSON whole or not at all."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Read JSON.

    Raises:
        UserError: if the file is missing or not JSON.
    """
    try:
        if path.exists() and not path.is_file():
            raise ValueError("it is not a regular file")
        if path.exists() and path.stat().st_size > _LARGEST:
            raise ValueError("it is too large")
        return parse_json(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"cannot read {path} ({error.strerror or error}): is it a run folder?") from error
    except ValueError as error:
        raise UserError(f"{path} is not valid JSON ({error}): restore it or start the run anew") from error
