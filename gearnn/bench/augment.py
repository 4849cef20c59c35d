"""``gearnn bench augment``: ERA, AugMix and PRIME against the ways they are commonly computed."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

import numpy as np
import torch
from PIL import Image

from gearnn.bench.memory import peak_growth_mb
from gearnn.bench.pillow_augmix import augmix_image
from gearnn.bench.timing import interleave
from gearnn.bench.torch_era import apply_plan
from gearnn.bench.torch_prime import prime_views
from gearnn.kernels.era import era_views
from gearnn.kernels.era_plan import EraPlan, draw_plan
from gearnn.kernels.prime_plan import PrimePlan, draw_prime_plan
from gearnn.progress import Progress, no_progress

BATCHES = {32: 128, 64: 64, 224: 16}
"""Images a call by image size; other sizes get 32."""
ERA_VIEWS, AUGMIX_VIEWS, PRIME_VIEWS = 4, 2, 3
# The peer that each result is compared with, besides Pillow on the same plan.
_RATIOS = {"ratio_to_pillow": "pillow", "ratio_to_kornia": "kornia", "ratio_to_torch": "torch"}
_FAMILY_RATIOS = {"augmix": ("ratio_to_augmix_pillow", "augmix-pillow"), "prime": ("ratio_to_prime_torch", "prime-torch")}


@dataclass(frozen=True)
class Workload:
    """Images uint8 (B, 3, S, S) and the plans that all candidates execute."""

    images: np.ndarray
    era: EraPlan
    augmix: EraPlan
    prime: PrimePlan
    seed: int

    @staticmethod
    def make(size: int, batch: int, seed: int, pictures: Optional[np.ndarray]) -> Workload:
        """Draw plans for a batch of given pictures uint8 (N, 3, S, S), or of generated ones."""
        images = textured(batch, size, seed) if pictures is None else pictures[np.arange(batch) % len(pictures)]
        settings: Dict[str, Any] = {"seed": seed, "epoch": 0, "image_size": (size, size)}
        rows = range(batch)
        return Workload(
            np.ascontiguousarray(images),
            draw_plan(rows, views=ERA_VIEWS, **settings),
            draw_plan(rows, views=AUGMIX_VIEWS, width=3, depth=None, **settings),
            draw_prime_plan(rows, views=PRIME_VIEWS, **settings),
            seed,
        )


def textured(batch: int, size: int, seed: int) -> np.ndarray:
    """Smooth random surfaces with noise, uint8 (B, 3, S, S): neither blank nor pure noise."""
    generator = np.random.default_rng(seed)
    coarse = generator.normal(size=(batch, 3, size // 4 + 2, size // 4 + 2)).cumsum(2).cumsum(3)
    surface = np.kron(coarse, np.ones((4, 4)))[:, :, :size, :size] + generator.normal(0, 0.5, (batch, 3, size, size))
    surface -= surface.min((1, 2, 3), keepdims=True)
    return np.asarray(255 * surface / surface.max((1, 2, 3), keepdims=True), np.uint8)


def jobs(work: Workload, threads: int, device: str = "cpu") -> Dict[str, Callable[[], object]]:
    """The candidates by name; each augments the whole batch."""
    from gearnn.bench.kornia_era import kornia_views

    images = torch.from_numpy(work.images).to(device)
    floating = images.float() / 255
    size = work.images.shape[-1]
    rows = range(len(work.images))
    generator, numpy_generator = torch.Generator().manual_seed(work.seed), np.random.default_rng(work.seed)
    pictures = [Image.fromarray(np.ascontiguousarray(image.transpose(1, 2, 0))) for image in work.images]
    mean, std = np.full(3, 0.5, np.float32), np.full(3, 0.25, np.float32)

    def ours(plan: Any) -> Any:
        views = era_views(images, plan, threads=threads)
        if device != "cpu":
            torch.cuda.synchronize()
        return views

    def planned() -> Any:
        return ours(draw_plan(rows, seed=work.seed, epoch=1, image_size=(size, size), views=ERA_VIEWS))

    def on_device(function: Callable[[], object]) -> Callable[[], object]:
        def run() -> object:
            result = function()
            if device != "cpu":
                torch.cuda.synchronize()
            return result

        return run

    found: Dict[str, Callable[[], object]] = {
        "era": lambda: ours(work.era),
        "era+plan": planned,
        "pillow": lambda: era_views(work.images, work.era, backend="reference"),
        "torch": on_device(lambda: apply_plan(images, work.era)),
        "augmix": lambda: ours(work.augmix),
        "augmix-pillow": lambda: np.stack([augmix_image(picture, mean, std, numpy_generator) for picture in pictures]),
        "prime": lambda: ours(work.prime),
    }
    if device == "cpu":
        found["kornia"] = lambda: kornia_views(floating, work.era)
        found["prime-torch"] = lambda: prime_views(floating, generator, views=PRIME_VIEWS)
    return found


def bench_augment(
    sizes: Sequence[int] = (32, 64, 224),
    threads: Sequence[int] = (1, 2),
    *,
    batch: Optional[int] = None,
    seconds: float = 10.0,
    seed: int = 0,
    device: str = "cpu",
    pictures: Callable[[int], Optional[np.ndarray]] = lambda size: None,
    progress: Progress = no_progress,
) -> Tuple[List[Dict[str, Any]], List[Dict[str, str]]]:
    """Time all candidates at every size and number of threads, interleaved within each.

    Args:
        batch: images a call; None takes ``BATCHES``.
        seconds: for each size and number of threads, after warming up.
        pictures: size → uint8 (N, 3, S, S), or None for generated ones.

    Returns:
        results, and what was skipped with the reason. ``images_per_s`` counts augmented views, without the clean one.
    """
    results: List[Dict[str, Any]] = []
    skipped = _skipped(device)
    missing = {entry["name"] for entry in skipped}
    torch_threads = torch.get_num_threads()
    try:
        for size in sizes:
            count = batch or BATCHES.get(size, 32)
            work = Workload.make(size, count, seed, pictures(size))
            for number in threads:
                torch.set_num_threads(number)
                chosen = {name: job for name, job in jobs(work, number, device).items() if name not in missing}
                label = f"{size}x{size}, {number} thread{'s' if number > 1 else ''}"
                timings = interleave(chosen, seconds, lambda share, label=label: progress(label, round(100 * share), 100))  # type: ignore[misc]
                rates = {name: count * _views(name) / timing.median for name, timing in timings.items()}
                for name, timing in timings.items():
                    row: Dict[str, Any] = {
                        "name": name,
                        "size": size,
                        "threads": 1 if "pillow" in name else number,
                        "batch": count,
                    }
                    row.update({"device": device, "images_per_s": rates[name], "pixels_per_s": rates[name] * size * size})
                    row.update(
                        {"q25": count * _views(name) / timing.q75, "q75": count * _views(name) / timing.q25, "n": timing.n}
                    )
                    row.update(_ratios(name, rates))
                    results.append(row)
            if device == "cpu":
                _add_memory(results, size, count, seed)
    finally:
        torch.set_num_threads(torch_threads)
    return results, skipped


def _ratios(name: str, rates: Dict[str, float]) -> Dict[str, float]:
    ratios = {}
    if name in ("era", "era+plan", "torch", "kornia", "pillow"):
        ratios = {key: rates[name] / rates[peer] for key, peer in _RATIOS.items() if peer in rates}
    elif name in _FAMILY_RATIOS:
        key, peer = _FAMILY_RATIOS[name]
        ratios = {key: rates[name] / rates[peer]} if peer in rates else {}
    return ratios


def _add_memory(results: List[Dict[str, Any]], size: int, batch: int, seed: int) -> None:
    """Peak memory of the PRIME candidates at one size, as a multiple of all their views in float32."""
    own = PRIME_VIEWS * batch * 3 * size * size * 4 / 1e6
    for name in ("prime", "prime-torch"):
        rows = [row for row in results if row["name"] == name and row["size"] == size]
        peak = peak_growth_mb(name, size, batch, seed) if rows else None
        for row in rows:
            row.update({"peak_mb": peak, "peak_over_batch": None if peak is None else peak / own})


def _views(name: str) -> int:
    """Augmented views that a call makes of each image."""
    if name.startswith("prime"):
        return PRIME_VIEWS - 1
    return AUGMIX_VIEWS - 1 if name.startswith("augmix") else ERA_VIEWS - 1


def _skipped(device: str) -> List[Dict[str, str]]:
    found = []
    if importlib.util.find_spec("kornia") is None:
        found.append({"name": "kornia", "reason": "not installed: pip install kornia"})
    elif device != "cpu":
        found.append({"name": "kornia", "reason": "timed on the CPU only"})
    if device != "cpu":
        found.append({"name": "prime-torch", "reason": "timed on the CPU only"})
    return found
