"""A peer: PRIME as published, on whole batches with torch, every frequency of every pixel in memory at once.

As in the authors' code each primitive is computed for the whole batch at every step, with one draw of its parameters, and a
mask picks per image; the random filter's delta is in the centre here too.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def prime_views(
    images: Tensor, generator: torch.Generator, *, views: int = 3, width: int = 3, steps: int = 3, cut_max: int = 100
) -> Tensor:
    """The clean and the augmented views: float32 (B, C, H, W) in [0, 1], H = W → float32 (views, B, C, H, W)."""
    return torch.stack([images, *(_mixed(images, generator, width, steps, cut_max) for _ in range(views - 1))])


def _mixed(images: Tensor, generator: torch.Generator, width: int, steps: int, cut_max: int) -> Tensor:
    batch = len(images)
    chains = images.repeat(width, 1, 1, 1)
    depth = torch.randint(1, steps + 1, (len(chains),), generator=generator)
    for step in range(steps):
        choice = torch.randint(0, 3, (len(chains),), generator=generator)
        changed = torch.zeros_like(chains)
        for index, primitive in enumerate((diffeomorphism, colour, random_filter)):
            changed += primitive(chains, generator, cut_max) * (choice == index)[:, None, None, None]
        active = (step < depth)[:, None, None, None]
        chains = torch.where(active, changed, chains)
    exponential = -torch.rand(batch, width, generator=generator).clamp_min(1e-9).log()
    weights = exponential / exponential.sum(1, keepdim=True)
    m = torch.rand(batch, 1, 1, 1, generator=generator)
    mixture = torch.einsum("bm,mbchw->bchw", weights, chains.view(width, *images.shape))
    return (1 - m) * images + m * mixture


def diffeomorphism(images: Tensor, generator: torch.Generator, cut_max: int) -> Tensor:
    """One smooth displacement field for the whole batch."""
    n = images.shape[-1]
    highest = int(torch.randint(3, cut_max + 1, (), generator=generator))
    cut = min(highest, int(2 + _arcsine(generator) * (highest - 1)))
    lowest_t = 1 / (math.pi * n**2 * math.log(cut))
    highest_t = max(lowest_t, 4 / (math.pi**3 * cut**2 * math.log(cut)))
    strength = math.sqrt(lowest_t + _arcsine(generator) * (highest_t - lowest_t)) * n
    k = torch.arange(1, cut + 1, dtype=torch.float32)
    radius = (k[:, None] ** 2 + k**2).sqrt()
    waves = torch.sin(math.pi * torch.linspace(0, 1, n)[:, None] * k)
    y, x = torch.meshgrid(torch.arange(n, dtype=torch.float32), torch.arange(n, dtype=torch.float32), indexing="ij")
    moved = []
    for position in (x, y):
        coefficients = torch.randn(cut, cut, generator=generator) * (radius < cut + 0.5) / radius
        moved.append((position - strength * torch.einsum("ij,xi,yj->yx", coefficients, waves, waves)).clamp(0, n - 1))
    x, y = moved
    left, top = x.floor().long(), y.floor().long()
    right, bottom = x.ceil().long(), y.ceil().long()
    part_x, part_y = x - left, y - top
    upper = (1 - part_x) * images[..., top, left] + part_x * images[..., top, right]
    under = (1 - part_x) * images[..., bottom, left] + part_x * images[..., bottom, right]
    return (1 - part_y) * upper + part_y * under


def colour(images: Tensor, generator: torch.Generator, cut_max: int) -> Tensor:
    """sum_k c_k sin(pi k x), with (B, C, H·W, K) sines."""
    cut = int(torch.randint(1, cut_max + 1, (), generator=generator))
    variance = 0.01 * float(torch.rand((), generator=generator))
    levels = images.flatten(2)
    coefficients = torch.randn(*levels.shape[:2], cut, generator=generator) * math.sqrt(variance)
    waves = torch.sin(levels[..., None] * torch.arange(1, cut + 1) * math.pi)
    return (torch.einsum("bcf,bcnf->bcn", coefficients, waves) + levels).clamp(0, 1).view_as(images)


def random_filter(images: Tensor, generator: torch.Generator, cut_max: int) -> Tensor:
    """A 3×3 filter of its own for every image, the identity and noise."""
    batch = len(images)
    sigma = 4 * float(torch.rand((), generator=generator))
    weights = sigma * torch.randn(batch, 1, 3, 3, generator=generator)
    weights[:, :, 1, 1] += 1
    return F.conv2d(images.transpose(0, 1), weights, padding=1, groups=batch).transpose(0, 1).clamp(0, 1)


def _arcsine(generator: torch.Generator) -> float:
    """A variate of Beta(1/2, 1/2)."""
    return math.sin(math.pi / 2 * float(torch.rand((), generator=generator))) ** 2
