"""``gearnn bench augment``: ERA, AugMix and PRIME against the ways they are commonly computed."""

from __future__ import annotations

from typing import Any, Dict, List, Optional, Sequence, Tuple

import torch

from gearnn.bench.candidates import FAMILIES, ON_ONE_CORE, VIEWS, Workload, jobs, skipped
from gearnn.bench.memory import peak_growth_mb
from gearnn.bench.pictures import Pictures, textured
from gearnn.bench.timing import Timing, interleave, settle_on
from gearnn.progress import Progress, no_progress
from gearnn.quantities import number_of

BATCHES = {32: 128, 64: 64, 224: 16}
"""Images a call by image size; other sizes get 32."""
# The peers that each family is compared with.
_RATIOS = {
    "ERA": {
        "ratio_to_one_thread": "era-one-thread",
        "ratio_to_pillow": "pillow",
        "ratio_to_kornia": "kornia",
        "ratio_to_torch": "torch",
    },
    "AugMix": {"ratio_to_augmix_pillow": "augmix-pillow"},
    "PRIME": {"ratio_to_prime_torch": "prime-torch"},
}
NOTES = {
    "era": "AugMix's operations, severity 3, width 1, depth 3: 3 augmented views and the clean one; no crop or flip; float32; "
    "the plan is drawn beforehand, that of era+plan anew in each call",
    "augmix": "width 3, depth 1 to 3: 1 augmented view, normalised",
    "prime": "width 3, depth 1 to 3: 2 augmented views and the clean one",
    "images_per_s": "augmented views a second, median of n samples; a clean view that is written besides is not counted",
    "pixels_per_s": "images_per_s times the pixels of a view",
    "q25, q75": "quartiles of images_per_s",
    "ratio_to_...": "images_per_s over that of the peer, timed in turn with it in the same process",
    "ratio_to_one_thread": "era's only: on the row's threads over that on one",
    "ratio_to_pillow": "against Pillow on the same plan, which has one thread whatever the number of threads of the row",
    "GOMP_SPINCOUNT": "in metadata: how long idle threads of torch's (and so kornia's) OpenMP pool wait actively",
    "peak_mb, peak_over_batch": "rise of a fresh process's resident memory during one call on one CPU thread, in 10^6 bytes, and "
    "over the size of all views in float32",
}
"""What the names in a row mean."""


def bench_augment(
    sizes: Sequence[int] = (32, 64, 224),
    threads: Sequence[int] = (1, 2),
    *,
    batch: Optional[int] = None,
    seconds: float = 5.0,
    seed: int = 0,
    device: str = "cpu",
    pictures: Optional[Pictures] = None,
    progress: Progress = no_progress,
) -> Tuple[List[Dict[str, Any]], List[Dict[str, str]]]:
    """Time the candidates of each family against each other at every size and number of threads.

    Args:
        threads: of the CPU; a GPU is timed with the first number alone.
        batch: images a call; None takes ``BATCHES``. PRIME gets fewer where torch's formulation would need more than 1 GiB.
        seconds: for each family, size and number of threads, after warming up.
        pictures: None generates them.

    Returns:
        The rows, whose names ``NOTES`` explains, and what was skipped with the reason.
    """
    results: List[Dict[str, Any]] = []
    missing = skipped(device)
    absent = {entry["name"] for entry in missing}
    torch_threads = torch.get_num_threads()
    try:
        for size in sizes:
            source: Pictures = pictures or (lambda count, side: textured(count, side, seed))
            work = Workload.make(size, batch or BATCHES.get(size, 32), seed, source)
            for number in threads if device == "cpu" else threads[:1]:
                torch.set_num_threads(number)
                found = jobs(work, number, device)
                for family, names in FAMILIES.items():
                    label = f"{family} {size}x{size}, {number_of(number, 'thread')}"
                    progress(label, 0, 100)
                    timings = interleave(
                        {name: found[name] for name in names if name in found and name not in absent},
                        seconds,
                        lambda share, label=label: progress(label, int(100 * share), 100),  # type: ignore[misc]
                        settle_on(device),
                    )
                    conditions = {"size": size, "threads": number, "batch": work.batch(family), "device": device}
                    results += _rows(family, timings, conditions)
            if device == "cpu":
                _add_memory([row for row in results if row["size"] == size], seed)
    finally:
        torch.set_num_threads(torch_threads)
    return results, missing


def _rows(family: str, timings: Dict[str, Timing], conditions: Dict[str, Any]) -> List[Dict[str, Any]]:
    views = conditions["batch"] * (VIEWS[family] - 1)
    rates = {name: views / timing.median for name, timing in timings.items()}
    rows = []
    for name, timing in timings.items():
        row = {"name": name, **conditions, **({"threads": 1, "device": "cpu"} if name in ON_ONE_CORE else {})}
        row.update({"images_per_s": rates[name], "q25": views / timing.q75, "q75": views / timing.q25, "n": timing.n})
        row["pixels_per_s"] = rates[name] * conditions["size"] ** 2
        peers = {key: peer for key, peer in _RATIOS[family].items() if peer in rates}
        row.update({key: rates[name] / rates[peer] for key, peer in peers.items() if name == "era" or peer != "era-one-thread"})
        rows.append(row)
    return rows


def _add_memory(rows: List[Dict[str, Any]], seed: int) -> None:
    """Peak memory of the PRIME candidates at one size, as a multiple of all their views in float32."""
    for name in FAMILIES["PRIME"]:
        found = [row for row in rows if row["name"] == name]
        if found:
            size, batch = found[0]["size"], found[0]["batch"]
            peak = peak_growth_mb(name, size, batch, seed)
            own = VIEWS["PRIME"] * batch * 3 * size * size * 4 / 1e6
            for row in found:
                row.update({"peak_mb": peak, "peak_over_batch": None if peak is None else peak / own})
