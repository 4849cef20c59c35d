"""How ERA's CUDA kernel is best launched: lanes of a thread block × registers that a thread may have, on this GPU.

Images and plan lie on the GPU; calls follow each other without waiting, and CUDA's events tell the time of all of them, so that
with large batches it is the kernel's. ``python benchmarks/era_launch.py [--lanes 4 8 16] [--registers 0 128 80] [--json FILE]``.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import json
import statistics
import sys
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional

# (family, side, images): many images, so that the GPU is full and the kernel's time is what counts.
CASES = (("augmix", 32, 128), ("augmix", 32, 8192), ("augmix", 64, 2048), ("augmix", 224, 256), ("prime", 32, 2048))
ROUNDS = 7


def timed(job: Callable[[], object]) -> float:
    """Milliseconds a call."""
    import torch

    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begin.record()
    for _ in range(3):
        job()
    end.record()
    end.synchronize()
    return float(begin.elapsed_time(end)) / 3


def measure(lanes: List[int], registers: List[int], seed: int) -> List[Dict[str, Any]]:
    """Rows of medians; settings take turns."""
    import torch
    from numba import cuda

    from gearnn.bench.pictures import textured
    from gearnn.kernels import era_cuda
    from gearnn.kernels.era import era_views
    from gearnn.kernels.era_plan import draw_plan
    from gearnn.kernels.prime_plan import draw_prime_plan

    @functools.lru_cache(maxsize=None)
    def compiled(most: int, family: str, half: bool, capacity: Optional[int], mixing: bool) -> Any:
        function = (
            era_cuda.make_global(family, half) if capacity is None else era_cuda.make_shared(family, half, capacity, mixing)
        )
        return cuda.jit(function, max_registers=most or None)

    rows = []
    for family, side, count in CASES:
        images = torch.from_numpy(textured(count, side, seed)).cuda()
        draw: Any = draw_plan if family == "augmix" else draw_prime_plan
        plan = draw(range(count), seed=seed, epoch=0, image_size=(side, side), views=4)
        settings = list(itertools.product(lanes, registers))
        found: Dict[Any, List[float]] = {setting: [] for setting in settings}
        for turn in range(ROUNDS + 1):
            for rows_of_lanes, most in settings:
                era_cuda.ROW_LANES = rows_of_lanes
                era_cuda.compiled = functools.partial(compiled, most)  # type: ignore[assignment]
                try:
                    milliseconds = timed(lambda images=images, plan=plan: era_views(images, plan, backend="cuda"))  # type: ignore[misc]
                except Exception as error:  # the driver's own kinds: too many lanes for a thread's registers
                    found[rows_of_lanes, most] = []
                    if "RESOURCES" in str(error):
                        continue
                    raise
                if turn:  # the first warms up
                    found[rows_of_lanes, most].append(milliseconds)
        for (rows_of_lanes, most), times in found.items():
            if not times:
                continue
            median = statistics.median(times)
            conditions = {"family": family, "size": side, "batch": count, "lanes": 32 * rows_of_lanes, "registers": most or None}
            row = {"ms": median, "ms_range": [min(times), max(times)], "n": len(times), "views_per_s": 3e3 * count / median}
            rows.append({**conditions, **row})
    return rows


def main(arguments: Optional[List[str]] = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--lanes", type=int, nargs="+", default=[2, 4, 8, 16], help="rows of 32 lanes in a block")
    parser.add_argument("--registers", type=int, nargs="+", default=[0, 128, 64], help="most per thread; 0: any number")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, default=None)
    options = parser.parse_args(arguments)
    import torch

    if not torch.cuda.is_available():
        print("error: no GPU that torch can use: run this on a machine with an NVIDIA GPU", file=sys.stderr)
        return 2
    from gearnn.engine.environment import environment

    rows = measure(options.lanes, options.registers, options.seed)
    for row in rows:
        low, high = row["ms_range"]
        print(
            f"{row['family']:<7} {row['size']:>4} px, {row['batch']:>5} images, {row['lanes']:>4} lanes, "
            f"{row['registers'] or 'any':>4} registers: {row['ms']:9.3f} ms ({low:.3f} to {high:.3f}), "
            f"{row['views_per_s'] / 1e6:8.2f} M views/s"
        )
    if options.json:
        found = {"gpu": torch.cuda.get_device_name(0), "seed": options.seed, **environment(), "rows": rows}
        options.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
