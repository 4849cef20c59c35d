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
    key = (variant, _sources())
    dispatcher._cache._index_key = lambda signature, codegen: (signature, codegen.magic_tuple(), key)


@lru_cache(maxsize=None)
def _sources() -> str:
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()
