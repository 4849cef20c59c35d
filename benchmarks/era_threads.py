"""ERA on one thread against two, call by call in turn, for batches of several sizes.

Usage: python benchmarks/era_threads.py [--batches 128 512 2048] [--threads 2] [--seconds 6] [--seed 0]
"""

from __future__ import annotations

import argparse
import os
import time

import numpy as np

from gearnn.bench.candidates import Workload
from gearnn.engine.environment import device_name
from gearnn.kernels.era import era_views


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batches", type=int, nargs="+", default=[128, 512, 2048])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=6.0, help="for each batch size")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    print(
        f"{device_name()}, load {os.getloadavg()[0]:.1f}, 32x32, generated pictures, seed {options.seed}: median ms (quartiles)"
    )
    for batch in options.batches:
        work = Workload.generated(32, batch, options.seed)
        counts = (1, options.threads)
        for threads in counts:
            era_views(work.images, work.era, threads=threads)
        rows = []
        end = time.perf_counter() + options.seconds
        while time.perf_counter() < end:
            row = []
            for threads in counts:
                start = time.perf_counter()
                era_views(work.images, work.era, threads=threads)
                row.append(1e3 * (time.perf_counter() - start))
            rows.append(row)
        times = np.array(rows)
        cells = [
            f"{threads} thread(s) {np.median(t):.2f} ({np.percentile(t, 25):.2f}-{np.percentile(t, 75):.2f})"
            for threads, t in zip(counts, times.T)
        ]
        one, many = np.median(times, axis=0)
        best = times[:, 0].min() / times[:, 1].min()
        print(f"batch {batch}, n {len(times)}: {cells[0]}, {cells[1]}: {one / many:.2f} times, shortest calls {best:.2f} times")


if __name__ == "__main__":
    main()
