"""How memory is cut for channel sums: in its own order, whatever the layout, and by its shape alone.

So the result does not depend on who computes which part.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple, Tuple


class Layout(NamedTuple):
    """Contiguous memory: ``size`` elements for each of ``channels`` for each of ``images``.

    Channels-last memory has size 1, with every pixel as an image.
    """

    images: int
    channels: int
    size: int


class Tiles(NamedTuple):
    """``parts`` × ``blocks`` tiles, each of ``depth`` images × ``breadth`` channels (less at the ends)."""

    depth: int
    breadth: int
    parts: int
    blocks: int


def flat_pair(a: Any, g: Any, xp: Any) -> Tuple[Any, Any, Layout]:
    """Two equal-shaped arrays (N, C, ...) as flat ones in the same layout, with a copy only of what does not lie in it.

    Args:
        xp: the arrays' library, numpy or cupy.
    """
    images, channels = a.shape[:2]
    size = math.prod(a.shape[2:])
    channels_last = (0, *range(2, a.ndim), 1)
    last_a, last_g = a.transpose(channels_last), g.transpose(channels_last)
    planar = int(a.flags.c_contiguous) + int(g.flags.c_contiguous)
    if size == 1 or int(last_a.flags.c_contiguous) + int(last_g.flags.c_contiguous) > planar:
        a, g, images, size = last_a, last_g, images * size, 1
    return xp.ascontiguousarray(a).reshape(-1), xp.ascontiguousarray(g).reshape(-1), Layout(images, channels, size)


def cut(layout: Layout, breadth: int, elements: int) -> Tiles:
    """Tiles of ``breadth`` channels and about ``elements`` elements."""
    depth = max(1, elements // (breadth * layout.size))
    return Tiles(depth, breadth, -(-layout.images // depth), -(-layout.channels // breadth))
