"""Numba's cache on disk for functions that a factory makes.

Numba keys a closure's cache by the pickled contents of its cells. Those of ours are compiled functions, which carry a
random mark of their process, so that no later process would ever find them. What they do is decided by the name of the
variant and by the source of this folder: both are the key here. With that, a change in any file of the folder counts,
not only one in the file that the function stands in.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path
from typing import Any


def cache_on_disk(dispatcher: Any, variant: str) -> None:
    """Let a ``numba.njit`` function be found again by later processes; without a writable cache folder it is left as it is.

    Args:
        dispatcher: not yet called.
        variant: distinguishes functions that the same lines of source make.
    """
    try:
        dispatcher.enable_caching()
    except RuntimeError:  # neither the package's folder nor the user's cache folder can be written
        return
    cache, key = dispatcher._cache, (variant, _sources())
    cache._index_key = lambda signature, codegen: (signature, codegen.magic_tuple(), key)
    cache._cache_file = _FilePerKey(cache._cache_path, cache._impl)


class _FilePerKey:
    """In place of Numba's one index for all that a function was compiled to.

    Numba numbers the files of compiled code by an index that it reads, and writes before them. Two processes that compile at the
    same time, or one that is killed in between, can so leave an index that names the code of another key: it would be run for it.
    Here each key has an index and a file of its own, named by its digest.
    """

    def __init__(self, folder: str, naming: Any) -> None:
        self._folder, self._naming = folder, naming

    def save(self, key: Any, data: Any) -> None:
        """Write one entry, whole or not at all."""
        self._of(key).save(key, data)

    def load(self, key: Any) -> Any:
        """One entry, or None."""
        return self._of(key).load(key)

    def _of(self, key: Any) -> Any:
        from numba.core.caching import IndexDataCacheFile

        digest = hashlib.sha256(repr(key).encode()).hexdigest()[:16]
        stamp = self._naming.locator.get_source_stamp()
        return IndexDataCacheFile(self._folder, f"{self._naming.filename_base}-{digest}", stamp)


@lru_cache(maxsize=None)
def _sources() -> str:
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()
