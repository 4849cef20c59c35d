"""What ``gearnn bench augment`` times: our kernels and their peers, by name, on the same pictures and plans."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from typing import Any, Callable, Dict, List, Tuple

import numpy as np
import torch
from PIL import Image

from gearnn.bench.kornia_era import kornia_views
from gearnn.bench.pictures import Pictures, textured
from gearnn.bench.pillow_augmix import augmix_image
from gearnn.bench.torch_era import apply_plan
from gearnn.bench.torch_prime import prime_views
from gearnn.kernels.era import era_views
from gearnn.kernels.era_plan import EraPlan, draw_plan
from gearnn.kernels.era_reference import era_views_reference
from gearnn.kernels.plan_draws import Plan
from gearnn.kernels.prime_plan import LARGEST_CUT, PrimePlan, draw_prime_plan
from gearnn.kernels.registry import probe

Job = Callable[[], Any]

FAMILIES: Dict[str, Tuple[str, ...]] = {
    "ERA": ("era", "era-one-thread", "era+plan", "pillow", "kornia", "torch"),
    "AugMix": ("augmix", "augmix-pillow"),
    "PRIME": ("prime", "prime-torch"),
}
"""Candidates that make the same views, and are timed against each other; era-one-thread where era has several."""
VIEWS = {"ERA": 4, "AugMix": 2, "PRIME": 3}
"""J, the clean view included."""
OURS = ("era", "era+plan", "augmix", "prime")
ON_ONE_CORE = ("era-one-thread", "pillow", "augmix-pillow")
"""On one thread of the CPU, whatever the others have; Pillow's as in one worker of a data loader."""

_CHAINS = 3  # of AugMix and PRIME
_LARGEST_TENSOR = 1 << 28  # values: PRIME in torch gets no larger batch than takes 1 GiB per tensor


@dataclass(frozen=True)
class Workload:
    """Images uint8 (B, 3, S, S) and the plans that all candidates execute; PRIME's is of fewer images if S is large."""

    images: np.ndarray
    era: EraPlan
    augmix: EraPlan
    prime: PrimePlan
    seed: int

    @staticmethod
    def make(size: int, batch: int, seed: int, pictures: Pictures) -> Workload:
        """Draw plans for a batch of pictures, without crop and flip."""
        settings: Dict[str, Any] = {"seed": seed, "epoch": 0, "image_size": (size, size)}
        few = max(1, min(batch, _LARGEST_TENSOR // (_CHAINS * 3 * size * size * LARGEST_CUT)))
        return Workload(
            np.ascontiguousarray(pictures(batch, size)),
            _era_plan(batch, size, seed),
            draw_plan(range(batch), views=VIEWS["AugMix"], width=_CHAINS, depth=None, **settings),
            draw_prime_plan(range(few), views=VIEWS["PRIME"], width=_CHAINS, depth=None, **settings),
            seed,
        )

    @staticmethod
    def generated(size: int, batch: int, seed: int) -> Workload:
        """The same with generated pictures."""
        return Workload.make(size, batch, seed, lambda count, side: textured(count, side, seed))

    def batch(self, family: str) -> int:
        """Images a call."""
        return len(self.prime if family == "PRIME" else self.images)


def jobs(work: Workload, threads: int, device: str = "cpu") -> Dict[str, Job]:
    """The candidates by name; each augments its whole batch, on CUDA without waiting for the GPU."""
    backend = _backend(device)
    images = torch.from_numpy(work.images).to(device)
    few = images[: len(work.prime)]
    floating, few_floating = images.float() / 255, few.float() / 255
    generator = torch.Generator(device).manual_seed(work.seed)
    numpy_generator = np.random.default_rng(work.seed)
    pillow_images = [Image.fromarray(np.ascontiguousarray(image.transpose(1, 2, 0))) for image in work.images]
    mean, std = np.full(3, 0.5, np.float32), np.full(3, 0.25, np.float32)
    shape = work.images.shape[0], work.images.shape[-1]

    def ours(inputs: torch.Tensor, plan: Plan, **options: Any) -> torch.Tensor:
        return era_views(inputs, plan, backend=backend, **{"threads": threads, **options})

    several = threads > 1 and device == "cpu" and probe(backend).ready
    return {
        "era": lambda: ours(images, work.era),
        **({"era-one-thread": lambda: ours(images, work.era, threads=1)} if several else {}),
        "era+plan": lambda: ours(images, _era_plan(*shape, work.seed)),
        "pillow": lambda: era_views_reference(work.images, work.era),
        "kornia": lambda: kornia_views(floating, work.era),
        "torch": lambda: apply_plan(images, work.era),
        "augmix": lambda: ours(images, work.augmix, mean=mean, std=std),
        "augmix-pillow": lambda: np.stack([augmix_image(image, mean, std, numpy_generator) for image in pillow_images]),
        "prime": lambda: ours(few, work.prime),
        "prime-torch": lambda: prime_views(few_floating, generator, views=VIEWS["PRIME"], width=_CHAINS),
    }


def skipped(device: str) -> List[Dict[str, str]]:
    """Candidates that cannot run here, each with the reason."""
    entries = []
    state = probe(_backend(device))
    if not state.ready:
        entries += [{"name": name, "reason": f"{state.reason}; {state.cure}"} for name in OURS]
    if importlib.util.find_spec("kornia") is None:
        entries.append({"name": "kornia", "reason": "kornia is not installed; pip install kornia"})
    return entries


def _era_plan(batch: int, size: int, seed: int) -> EraPlan:
    return draw_plan(range(batch), seed=seed, epoch=0, image_size=(size, size), views=VIEWS["ERA"])


def _backend(device: str) -> str:
    """The kernels' own one: falling back to the reference would time Pillow under our name."""
    return "numba" if device == "cpu" else "cuda"
