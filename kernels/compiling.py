"""Numba's cache on disk for functions that a factory makes.

Numba keys a closure's cache by the pickled contents of its cells. Those of ours are compiled functions, which carry a
random mark of their process, so that no later process would ever find them. What they do is decided by the name of the
variant and by the source of this folder: both are the key here. With that, a change in any file of the folder counts,
not only one in the file that the function stands in.
"""

from __future__ import annotations

import hashlib
import sys
from functools import lru_cache
from pathlib import Path
from typing import Any


def cache_on_disk(dispatcher: Any, variant: str) -> None:
    """Let a ``numba.njit`` function or a ``numba.cuda.jit`` kernel be found again by later processes.

    Without a writable cache folder, and in the CUDA simulator, it is left as it is.

    Args:
        dispatcher: not yet called.
        variant: distinguishes functions that the same lines of source make.
    """
    if not hasattr(dispatcher, "enable_caching"):  # the simulator compiles nothing
        return
    try:
        dispatcher.enable_caching()
    except RuntimeError:  # neither the package's folder nor the user's cache folder can be written
        return
    cache = dispatcher._cache
    # Numba's own version is in the index; that of the package which compiles for CUDA is not.
    compiler = getattr(sys.modules.get("numba_cuda"), "__version__", "") if ".cuda." in type(cache).__module__ else ""
    key = (variant, compiler, _sources())
    cache._index_key = lambda signature, codegen: (signature, codegen.magic_tuple(), key)
    cache._cache_file = _FilePerKey(cache._cache_path, cache._impl, type(cache._cache_file))


class _FilePerKey:
    """In place of Numba's one index for all that a function was compiled to.

    Numba numbers the files of compiled code by an index that it reads, and writes before them. Two processes that compile at the
    same time, or one that is killed in between, can so leave an index that names the code of another key: it would be run for it.
    Here each key has an index and a file of its own, named by its digest.
    """

    def __init__(self, folder: str, naming: Any, kind: Any) -> None:
        self._folder, self._naming, self._kind = folder, naming, kind  # of index file: numba-cuda has one of its own

    def save(self, key: Any, data: Any) -> None:
        """Write one entry, whole or not at all."""
        self._of(key).save(key, data)

    def load(self, key: Any) -> Any:
        """One entry, or None."""
        return self._of(key).load(key)

    def _of(self, key: Any) -> Any:
        digest = hashlib.sha256(repr(key).encode()).hexdigest()[:16]
        stamp = self._naming.locator.get_source_stamp()
        return self._kind(self._folder, f"{self._naming.filename_base}-{digest}", stamp)


@lru_cache(maxsize=None)
def _sources() -> str:
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()
