"""Files that are written whole or not at all, and are on the disk before they get their names."""

from __future__ import annotations

import os
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Iterator, List

from gearnn.engine.errors import EngineError

UNFINISHED = ".part"
"""How the name of a file that is being written ends; it begins with a dot."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path beside ``path``; once the block has written it, flush it to disk and rename it into place.

    The content is flushed before the rename and the folder after it, so that a power cut leaves either the old file or the new
    one, never a name without its content.

    Raises:
        EngineError: if the folder cannot be written to, or the disk is full.
    """
    temporary = None
    try:
        made = make_folder(path.parent)
        handle, name = tempfile.mkstemp(dir=str(path.parent), prefix=f".{path.name}.", suffix=UNFINISHED)
        os.close(handle)
        temporary = Path(name)
        yield temporary
        with temporary.open("rb+") as stream:
            os.fsync(stream.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
        for folder in (path.parent, *(new.parent for new in made)):
            flush_folder(folder)
    except OSError as error:
        raise EngineError(f"cannot write {path} ({error.strerror or error}): free some space or choose another place") from error
    finally:
        if temporary is not None and temporary.exists():
            temporary.unlink()


def write_bytes(path: Path, content: bytes) -> None:
    """Write bytes whole or not at all; raises as `replacing`."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def make_folder(folder: Path) -> List[Path]:
    """Make a folder and those above it; returns the ones that were not there, the innermost first; raises OSError."""
    missing = []
    for place in (folder, *folder.parents):
        if place.exists():
            break
        missing.append(place)
    folder.mkdir(parents=True, exist_ok=True)
    return missing


def flush_folder(folder: Path) -> None:
    """Put the names in a folder on the disk, where the system can flush folders; elsewhere do nothing."""
    with suppress(OSError):
        handle = os.open(str(folder), os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def remove_unfinished(folder: Path) -> List[Path]:
    """Delete what writers that were killed have left in a folder and those within; returns what was deleted."""
    litter = [path for path in sorted(folder.rglob(f".*{UNFINISHED}")) if path.is_file()]
    for path in litter:
        with suppress(OSError):
            path.unlink()
    return litter
