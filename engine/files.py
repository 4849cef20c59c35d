"""Files that are written whole or not at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from gearnn.engine.errors import EngineError


def write_bytes(path: Path, content: bytes) -> None:
    """Write to a temporary file beside ``path``, flush it to disk and rename it into place.

    Raises:
        EngineError: if the folder cannot be written to, or the disk is full.
    """
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=str(path.parent), prefix=f".{path.name}.")
        temporary = Path(name)
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    except OSError as error:
        raise EngineError(f"cannot write {path} ({error.strerror or error}): free some space or choose another place") from error
    finally:
        if temporary is not None and temporary.exists():
            temporary.unlink()
