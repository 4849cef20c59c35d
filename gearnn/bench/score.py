"""``gearnn bench score``: the three channel sums of growth in one pass, against torch's three."""

from __future__ import annotations

import itertools
import math
from typing import Any, Callable, Dict, List, Sequence, Tuple

import torch
from torch import Tensor

from gearnn.bench.timing import interleave, settle_on
from gearnn.kernels.registry import probe
from gearnn.kernels.score import channel_sums
from gearnn.progress import Progress, no_progress

Shape = Tuple[int, int, int, int]

SHAPES: Tuple[Shape, ...] = ((128, 32, 32, 32), (128, 64, 16, 16), (128, 128, 8, 8))
LARGE: Shape = (256, 64, 64, 64)
"""Besides, on a GPU: arrays of 268 MB, which no cache holds."""
NOTES = {
    "fused": "sums of g·a, g² and a² per channel, within 1e-6 of float64",
    "torch": "(g * a).sum((0, 2, 3)), (g * g).sum((0, 2, 3)), (a * a).sum((0, 2, 3)), one after the other, in float32",
    "ms": "milliseconds for all three sums, median of n samples; q25 and q75 are its quartiles",
    "arrays": "pairs of arrays that the calls of a sample go through in turn; on a GPU so many that caches cannot hold them",
    "gb_per_s": "10^9 bytes of activations and gradients, float32, each counted once, a second",
    "ratio_to_torch": "torch's ms over this one's, timed in turn with it in the same process",
}
"""What the names in a row mean."""
_ROTATED = 256e6  # bytes that a GPU's calls go through in turn: several times its cache
_LAYOUTS = {"NCHW": torch.contiguous_format, "channels-last": torch.channels_last}


def bench_score(
    shapes: Sequence[Shape] = SHAPES,
    threads: Sequence[int] = (1, 2),
    *,
    seconds: float = 2.0,
    seed: int = 0,
    device: str = "cpu",
    progress: Progress = no_progress,
) -> Tuple[List[Dict[str, Any]], List[Dict[str, str]]]:
    """Time both at every shape, layout and number of threads.

    Args:
        shapes: (N, C, H, W) of activations and gradients, float32.
        threads: of the CPU; a GPU is timed with the first number alone.
        seconds: for each combination, after warming up.

    Returns:
        The rows, whose names ``NOTES`` explains, and what was skipped with the reason.
    """
    results: List[Dict[str, Any]] = []
    backend = "numba" if device == "cpu" else "cupy"
    state = probe(backend)
    skipped = [] if state.ready else [{"name": "fused", "reason": f"{state.reason}; {state.cure}"}]
    threads = threads if device == "cpu" else threads[:1]
    torch_threads = torch.get_num_threads()
    total, done = len(shapes) * len(_LAYOUTS) * len(threads), 0
    try:
        for shape in shapes:
            for layout, memory_format in _LAYOUTS.items():
                generator = torch.Generator().manual_seed(seed)
                pairs = [
                    tuple(torch.randn(shape, generator=generator).to(device, memory_format=memory_format) for _ in range(2))
                    for _ in range(1 if device == "cpu" else max(1, round(_ROTATED / (8 * math.prod(shape)))))
                ]
                for number in threads:
                    progress("channel sums", done, total)
                    torch.set_num_threads(number)
                    found = _jobs(pairs, backend, number)
                    wanted = {name: found[name] for name in found if name == "torch" or not skipped}
                    timings = interleave(wanted, seconds, settle=settle_on(device))
                    for name, timing in timings.items():
                        row = {"name": name, "shape": list(shape), "layout": layout, "threads": number, "device": device}
                        row["arrays"] = len(pairs)
                        row.update({"ms": timing.median * 1e3, "q25": timing.q25 * 1e3, "q75": timing.q75 * 1e3, "n": timing.n})
                        row["gb_per_s"] = 8 * math.prod(shape) / timing.median / 1e9
                        row["ratio_to_torch"] = timings["torch"].median / timing.median
                        results.append(row)
                    done += 1
        progress("channel sums", done, total)
    finally:
        torch.set_num_threads(torch_threads)
    return results, skipped


def _jobs(pairs: Sequence[Tuple[Tensor, ...]], backend: str, threads: int) -> Dict[str, Callable[[], object]]:
    turns = itertools.cycle(pairs)

    def fused() -> object:
        return channel_sums(*next(turns), backend=backend, threads=threads)

    def plain() -> object:
        a, g = next(turns)
        return tuple((left * right).sum((0, 2, 3)) for left, right in ((g, a), (g, g), (a, a)))

    return {"fused": fused, "torch": plain}
