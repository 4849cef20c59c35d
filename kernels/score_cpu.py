"""Channel sums on the CPU, compiled by Numba, tiles in parallel on plain threads.

Long runs of one channel (planar memory) are summed one after the other. Where channels alternate (channels-last memory, or few
pixels per channel), rows of memory are added lane by lane, and lanes of one channel only at the end.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Callable

import numpy as np

from .compiling import cache_on_disk
from .score_plan import cut, flat_pair
from .threads import in_parts

_RUN = 32
"""Elements of one channel in a row that are worth summing by themselves."""
_BLOCK = 256
"""Elements summed in float32, spread over the lanes of a vector, before they go into float64."""
_TILE = 1 << 17
"""Elements in a tile."""
_THREAD = 1 << 23
"""Elements that are worth another thread: beside torch's, which wait actively, it takes a new one 2 ms to get a core."""


def channel_sums_cpu(a: np.ndarray, g: np.ndarray, threads: int) -> np.ndarray:
    """Σ g·a, Σ g², Σ a² per channel, float64 (3, C).

    Args:
        a: float32 (N, C, ...), or float16 as uint16 bits, or bfloat16 as int16 bits; not empty.
        g: likewise.
    """
    from .score_rows import LANES

    a, g, layout = flat_pair(a, g, np)
    long = layout.size >= _RUN
    tiles = cut(layout, layout.channels if long else min(layout.channels, LANES // layout.size), _TILE)
    sums = np.zeros((tiles.parts, 3, layout.channels))
    add = compiled(long)

    def work(start: int, stop: int) -> None:
        add(start, stop, a, g, layout, tiles, sums)

    in_parts(work, tiles.parts * tiles.blocks, min(threads, 1 + a.size // _THREAD))
    return sums.sum(axis=0)


@lru_cache(maxsize=None)
def compiled(long: bool) -> Callable[..., None]:
    """The loop over tiles [start, stop): compiled on the first call for each type of elements, then found on disk."""
    loop: Callable[..., None] = _runs() if long else _rows()
    cache_on_disk(loop, "runs" if long else "rows")
    return loop


def _runs() -> Any:
    import numba
    from numba import float32, uint64

    from .half import to_float

    @numba.njit(error_model="numpy", nogil=True, fastmath={"reassoc", "contract", "nsz"})
    def block_sums(a: Any, g: Any) -> Any:
        ga, gg, aa = float32(0), float32(0), float32(0)
        for i in range(uint64(len(a))):  # unsigned: no test for negative indices, so that the loop becomes vector code
            x, y = to_float(a[i]), to_float(g[i])
            ga += x * y
            gg += y * y
            aa += x * x
        return ga, gg, aa

    @numba.njit(error_model="numpy", nogil=True)
    def add_runs(start: Any, stop: Any, a: Any, g: Any, layout: Any, tiles: Any, sums: Any) -> None:
        images, channels, size = layout
        for part in range(start, stop):
            for run in range(part * tiles.depth * channels, min((part + 1) * tiles.depth, images) * channels):
                end = (run + 1) * size
                for begin in range(run * size, end, _BLOCK):
                    ga, gg, aa = block_sums(a[begin : min(begin + _BLOCK, end)], g[begin : min(begin + _BLOCK, end)])
                    sums[part, 0, run % channels] += ga
                    sums[part, 1, run % channels] += gg
                    sums[part, 2, run % channels] += aa

    return add_runs


def _rows() -> Any:
    import numba
    from numba import float64, uint64

    from .half import to_float
    from .score_rows import LANES, VECTOR, add_four_rows

    @numba.njit(error_model="numpy", nogil=True)
    def add_row(a: Any, g: Any, lanes: Any) -> None:
        for i in range(uint64(len(a))):
            x, y = to_float(a[i]), to_float(g[i])
            lanes[i] += float64(x * y)
            lanes[uint64(LANES) + i] += float64(y * y)
            lanes[uint64(2 * LANES) + i] += float64(x * x)

    @numba.njit(error_model="numpy", nogil=True)
    def add_rows(start: Any, stop: Any, a: Any, g: Any, layout: Any, tiles: Any, sums: Any) -> None:
        images, channels, size = layout
        lanes = np.empty(3 * LANES, np.float64)
        for tile in range(start, stop):
            part, block = tile // tiles.blocks, tile % tiles.blocks
            image, channel = part * tiles.depth, block * tiles.breadth
            count, breadth = min(tiles.depth, images - image), min(tiles.breadth, channels - channel)
            width, step = breadth * size, channels * size
            position = image * step + channel * size
            end = position + (count - 1) * step + width
            if width == step:  # images follow each other without a gap: several make a row
                width *= LANES // width
                step = width
            vectors = -(-width // VECTOR) * VECTOR
            lanes[:] = 0
            while position + 3 * step + vectors <= min(end, len(a)):
                add_four_rows(a, g, position, step, vectors, lanes)
                position += 4 * step
            while position < end:
                add_row(a[position : min(position + width, end)], g[position : min(position + width, end)], lanes)
                position += step
            for lane in range(width):
                for kind in range(3):
                    sums[part, kind, channel + lane // size % breadth] += lanes[kind * LANES + lane]

    return add_rows
