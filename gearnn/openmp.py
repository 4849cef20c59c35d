"""How long torch's threads wait actively."""

from __future__ import annotations

import os


def wait_briefly() -> None:
    """Let torch's OpenMP threads go to sleep soon after their work, unless the environment says otherwise.

    By default they keep their cores busy for milliseconds after every parallel region, which takes the cores from other
    threads, ours that augment the next batch among them. To be called before torch is imported; libgomp reads the variable
    when it is loaded.
    """
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
