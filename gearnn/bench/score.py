"""``gearnn bench score``: the three channel sums of growth in one pass, against torch's three."""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Sequence, Tuple

import torch
from torch import Tensor

from gearnn.bench.timing import interleave
from gearnn.kernels.score import channel_sums
from gearnn.progress import Progress, no_progress

SHAPES: Tuple[Tuple[int, int, int, int], ...] = ((128, 32, 32, 32), (128, 64, 16, 16), (128, 128, 8, 8))
_LAYOUTS = {"NCHW": torch.contiguous_format, "channels-last": torch.channels_last}


def bench_score(
    shapes: Sequence[Tuple[int, int, int, int]] = SHAPES,
    threads: Sequence[int] = (1, 2),
    *,
    seconds: float = 3.0,
    seed: int = 0,
    device: str = "cpu",
    progress: Progress = no_progress,
) -> List[Dict[str, Any]]:
    """Time both at every shape, layout and number of threads, interleaved within each.

    Args:
        shapes: (N, C, H, W) of activations and gradients, float32.
        seconds: for each combination, after warming up.

    Returns:
        rows with ``ms`` a call and ``gb_per_s``, which counts both arrays once.
    """
    results: List[Dict[str, Any]] = []
    torch_threads = torch.get_num_threads()
    total, done = len(shapes) * len(_LAYOUTS) * len(threads), 0
    try:
        for shape in shapes:
            for layout, memory_format in _LAYOUTS.items():
                generator = torch.Generator().manual_seed(seed)
                a, g = (torch.randn(shape, generator=generator).to(device, memory_format=memory_format) for _ in range(2))
                for number in threads:
                    torch.set_num_threads(number)
                    timings = interleave(_jobs(a, g, number), seconds)
                    for name, timing in timings.items():
                        row = {"name": name, "shape": list(shape), "layout": layout, "threads": number, "device": device}
                        row.update({"ms": timing.median * 1e3, "q25": timing.q25 * 1e3, "q75": timing.q75 * 1e3, "n": timing.n})
                        row["gb_per_s"] = 2 * a.numel() * 4 / timing.median / 1e9
                        row["ratio_to_torch"] = timings["torch"].median / timing.median
                        results.append(row)
                    done += 1
                    progress("channel sums", done, total)
    finally:
        torch.set_num_threads(torch_threads)
    return results


def _jobs(a: Tensor, g: Tensor, threads: int) -> Dict[str, Callable[[], object]]:
    def fused() -> object:
        sums = channel_sums(a, g, threads=threads)
        if a.is_cuda:
            torch.cuda.synchronize()
        return sums

    def plain() -> object:
        sums = (g * a).sum((0, 2, 3)), (g * g).sum((0, 2, 3)), (a * a).sum((0, 2, 3))
        if a.is_cuda:
            torch.cuda.synchronize()
        return sums

    return {"fused": fused, "torch": plain}
