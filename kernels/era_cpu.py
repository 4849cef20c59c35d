"""ERA on the CPU: the body compiled by Numba with one lane, images in parallel on plain threads."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Callable, Sequence

import numpy as np

from .compiling import cache_on_disk
from .families import FAMILIES
from .threads import in_parts


@lru_cache(maxsize=None)
def compiled(family: str, half: bool) -> Callable[..., None]:
    """The loop over images [start, stop): compiled on the first call, then found on disk.

    Args:
        family: of operations, a key of ``FAMILIES``.
        half: write float16 bits into a uint16 array instead of float32.
    """
    import numba

    from .block_cpu import cpu_block
    from .era_body import make_views

    block = cpu_block(half)
    views = make_views(block, FAMILIES[family].make_step(block))
    level = FAMILIES[family].level

    @numba.njit(error_model="numpy", nogil=True)
    def era(
        start, stop, images, ops, args, words, chain_weights, mix, crop, flip, mean, std,
        table_size, count_size, out, channels, height, width, channels_last,
    ):  # fmt: skip
        size = channels * height * width
        clean, first, second = np.empty(size, level), np.empty(size, level), np.empty(size, level)
        total = np.empty(size if chain_weights.shape[2] > 1 else 1, np.float32)
        table, counts = np.empty(table_size, level), np.empty(count_size, np.int32)
        for n in range(start, stop):
            views(
                n, images, ops, args, words, chain_weights, mix, crop, flip, mean, std,
                clean, first, second, total, table, counts, out, channels, height, width, channels_last,
            )  # fmt: skip

    cache_on_disk(era, f"{family}-{'float16' if half else 'float32'}")
    function: Callable[..., None] = era
    return function


def run(
    family: str, images: np.ndarray, plan: Sequence[np.ndarray], out: np.ndarray, shape: Any, channels_last: bool, threads: int
) -> None:
    """Fill ``out``, flat float32 or float16, from uint8 (B, C, H, W); ``plan`` as ``era_body`` lists it, from ops to std."""
    half = out.dtype == np.float16
    function = compiled(family, half)
    batch, channels, height, width = shape
    sizes = (FAMILIES[family].table_size(channels, height, width), FAMILIES[family].count_size(channels))
    target = out.view(np.uint16) if half else out
    source = np.require(images, requirements=("C", "W")).reshape(batch, -1)  # Numba would compile anew for what is read-only

    def work(start: int, stop: int) -> None:
        function(start, stop, source, *plan, *sizes, target, channels, height, width, channels_last)

    in_parts(work, batch, threads)
