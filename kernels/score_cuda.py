"""Channel sums on CUDA: ``score.cu`` through CuPy, built ahead of time if a fatbin is there, else compiled on first use."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path
from typing import Any, Iterator, Tuple

import numpy as np

from .arrays import current_stream, empty_on_device
from .score_plan import Layout, Tiles, cut, flat_pair

_SOURCE = Path(__file__).with_name("score.cu")
_LANES = 256  # kLanes in score.cu
_REDUCERS = 64  # kReducers
_SUMS_BYTES = 24  # sizeof(Sums)


def channel_sums_cuda(a: Any, g: Any, kind: str) -> Any:
    """Σ g·a, Σ g², Σ a² per channel, float64 (3, C), queued on the current stream of the arrays' library.

    Args:
        a: float32, float16, or bfloat16 as int16 bits, (N, C, ...) in GPU memory, not empty: torch or CuPy, no copy is made.
        g: likewise.
        kind: "float32", "float16" or "bfloat16".
    """
    import cupy

    flat_a, flat_g = cupy.asarray(a), cupy.asarray(g)
    with flat_a.device, _stream(cupy, a, flat_a.device.id):
        flat_a, flat_g, layout = flat_pair(flat_a, flat_g, cupy)
        tiles = tiles_of(layout)
        partial = empty_on_device(a, (tiles.parts * layout.channels * _SUMS_BYTES,), "uint8")
        out = empty_on_device(a, (3, layout.channels), "float64")
        channels = np.int32(layout.channels)
        shape = (np.int64(layout.images), channels, *map(np.int32, (layout.size, tiles.depth, tiles.breadth, tiles.blocks)))
        tile_sums, reduce = (_kernel(name, flat_a.device.id) for name in (f"tile_sums_{kind}", "channel_sums"))
        tile_sums((tiles.parts * tiles.blocks,), (_LANES,), (flat_a, flat_g, *shape, cupy.asarray(partial)))
        reduce((layout.channels,), (_REDUCERS,), (cupy.asarray(partial), np.int64(tiles.parts), channels, cupy.asarray(out)))
    return out


def tiles_of(layout: Layout, elements: int = 1 << 13) -> Tiles:
    """One per thread block: as many channels as fit its threads, and 32 rows, so that hundreds of tiles can be shared out."""
    return cut(layout, min(layout.channels, max(1, _LANES // layout.size)), elements)


def fatbins() -> Iterator[Path]:
    """Where ``score.fatbin`` may lie: in the folder that GEARNN_FATBIN_DIR names, then beside the source."""
    folders = [Path(os.environ["GEARNN_FATBIN_DIR"])] if os.environ.get("GEARNN_FATBIN_DIR") else []
    for folder in (*folders, _SOURCE.parent):
        path = folder / "score.fatbin"
        if path.is_file():
            yield path


@lru_cache(maxsize=None)
def _kernel(name: str, device: int) -> Any:
    """From the first fatbin that holds code for this device, else compiled; CuPy keeps what it compiled on disk."""
    import cupy

    for path in fatbins():
        try:
            return cupy.RawModule(path=str(path)).get_function(name)
        except cupy.cuda.driver.CUDADriverError:  # built for other architectures
            continue
    return cupy.RawModule(code=_SOURCE.read_text(encoding="utf-8"), options=("-std=c++14",)).get_function(name)


def _stream(cupy: Any, array: Any, device: int) -> Any:
    """The array's library's current stream, for CuPy."""
    pointer = current_stream(array)
    if hasattr(cupy.cuda.Stream, "from_external"):  # CuPy 14 replaced ExternalStream
        return cupy.cuda.Stream.from_external(_External(pointer))
    return cupy.cuda.ExternalStream(pointer, device)


class _External:
    """A stream's pointer, by the CUDA stream protocol."""

    def __init__(self, pointer: int) -> None:
        self.pointer = pointer

    def __cuda_stream__(self) -> Tuple[int, int]:
        return 0, self.pointer
