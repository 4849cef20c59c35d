"""What TensorRT measured while building, kept for the next build: one file, locked, merged with what others added meanwhile.

A grown network differs from its predecessor in a few layers; the others need not be timed again. A file made on another device,
or by another version, is left alone and said so. The order of calls (attach before the build, combine and serialise after it) is
that of NVIDIA's Python API documentation of IBuilderConfig and ITimingCache.
"""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path
from typing import Any, Callable, Iterator, Optional

from gearnn.engine.errors import EngineError
from gearnn.engine.files import write_bytes

Remark = Callable[[str], None]


def default_path(flavour: str, version: str, gpu: Optional[str]) -> Path:
    """In the user's cache folder (XDG_CACHE_HOME, or ~/.cache), one file for each version and kind of GPU."""
    home = os.environ.get("XDG_CACHE_HOME", "")
    folder = Path(home) if home else Path.home() / ".cache"
    name = re.sub(r"[^A-Za-z0-9.]+", "-", f"{flavour}-{version}-{gpu or 'gpu'}")
    return folder / "gearnn" / "timing" / f"{name}.cache"


def attach(config: Any, path: Path, remark: Remark) -> Optional[Any]:
    """Give a builder's configuration the cache in a file, or an empty one if there is no file yet.

    Returns:
        The cache, to be kept until the engine is built and then given to `save`; None if it cannot be used, after a remark.
    """
    try:
        content = path.read_bytes() if path.exists() else b""
    except OSError as error:
        remark(f"the timing cache {path} cannot be read ({error.strerror or error}): building without it")
        return None
    cache = config.create_timing_cache(content)
    if cache is None and content:
        remark(f"the timing cache {path} is damaged: starting a new one")
        cache = config.create_timing_cache(b"")
    if cache is None:
        remark("this TensorRT gives no timing cache: building without one")
        return None
    if not config.set_timing_cache(cache, False):
        remark(f"the timing cache {path} is of another device or version and is ignored: name another file to keep timings")
        return None
    return cache


def save(config: Any, cache: Any, path: Path, remark: Remark) -> Optional[int]:
    """Merge with what is on disk by now and write, whole or not at all; a failure is a remark, for the engine is built.

    Returns:
        Bytes written; None if nothing was.
    """
    try:
        with _locked(path):
            if path.exists():
                # Others may have built meanwhile. What does not fit this device was refused by `attach` already.
                earlier = config.create_timing_cache(path.read_bytes())
                if earlier is not None and not cache.combine(earlier, False):
                    remark(f"the timing cache {path} could not be merged with this build's: it is replaced")
            serialized = cache.serialize()
            if serialized is None:
                remark("this TensorRT gave no timings to keep")
                return None
            content = bytes(memoryview(serialized))
            write_bytes(path, content)
            return len(content)
    except (OSError, EngineError) as error:
        remark(f"the timing cache was not kept: {error}")
        return None


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """One process at a time; the lock lies beside the file, which is replaced as a whole. Where there is no flock: none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(path.name + ".lock").open("w") as lock:
        try:
            import fcntl

            fcntl.flock(lock, fcntl.LOCK_EX)  # let go of when the file is closed
        except ImportError:
            pass
        yield
