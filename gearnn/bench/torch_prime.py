"""A peer: PRIME as published, on whole batches with torch, every frequency of every pixel in memory at once.

As in the authors' code each primitive is computed for the whole batch at every step, with one draw of its parameters, and a
mask picks per image; the random filter's delta is in the centre here too.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from gearnn.kernels.prime_plan import LARGEST_CUT


def prime_views(
    images: Tensor, generator: Generator, *, views: int = 3, width: int = 3, steps: int = 3, cut_max: int = LARGEST_CUT
) -> Tensor:
    """The clean and the augmented views.

    Args:
        images: float32 (B, C, H, W) in [0, 1], H = W.
        generator: of all draws, on the device of the images.
        width: chains per view, of 1 to ``steps`` steps.
        cut_max: the most modes of a diffeomorphism per axis, and the most frequencies of a colour transformation.

    Returns:
        float32 (views, B, C, H, W) in [0, 1].
    """
    return torch.stack([images, *(_mixed(images, generator, width, steps, cut_max) for _ in range(views - 1))])


def _mixed(images: Tensor, generator: Generator, width: int, steps: int, cut_max: int) -> Tensor:
    batch = len(images)
    chains = images.repeat(width, 1, 1, 1)
    depth = _integers(1, steps, generator, len(chains))
    for step in range(steps):
        choice = _integers(0, 2, generator, len(chains))
        changed = torch.zeros_like(chains)
        for index, primitive in enumerate((diffeomorphism, colour, random_filter)):
            changed += primitive(chains, generator, cut_max) * (choice == index)[:, None, None, None]
        chains = torch.where((step < depth)[:, None, None, None], changed, chains)
    exponential = -_uniform(generator, batch, width).clamp_min(1e-9).log()
    weights = exponential / exponential.sum(1, keepdim=True)
    m = _uniform(generator, batch, 1, 1, 1)
    mixture = torch.einsum("bm,mbchw->bchw", weights, chains.view(width, *images.shape))
    return (1 - m) * images + m * mixture


def diffeomorphism(images: Tensor, generator: Generator, cut_max: int) -> Tensor:
    """One smooth displacement field for the whole batch: sum_ij c_ij sin(i pi x) sin(j pi y) / r by einsum over all modes."""
    n, device = images.shape[-1], images.device
    highest = int(_integers(3, cut_max, generator))
    cut = min(highest, int(2 + _arcsine(generator) * (highest - 1)))
    lowest_t = 1 / (math.pi * n**2 * math.log(cut))
    highest_t = max(lowest_t, 4 / (math.pi**3 * cut**2 * math.log(cut)))
    strength = math.sqrt(lowest_t + _arcsine(generator) * (highest_t - lowest_t)) * n
    k = torch.arange(1, cut + 1, dtype=torch.float32, device=device)
    radius = (k[:, None] ** 2 + k**2).sqrt()
    waves = torch.sin(math.pi * torch.linspace(0, 1, n, device=device)[:, None] * k)
    positions = torch.arange(n, dtype=torch.float32, device=device)
    moved = []
    for position in (positions[None, :], positions[:, None]):
        coefficients = _normal(generator, cut, cut) * (radius < cut + 0.5) / radius
        moved.append((position - strength * torch.einsum("ij,xi,yj->yx", coefficients, waves, waves)).clamp(0, n - 1))
    x, y = moved
    left, top = x.floor().long(), y.floor().long()
    right, bottom = x.ceil().long(), y.ceil().long()
    part_x, part_y = x - left, y - top
    upper = (1 - part_x) * images[..., top, left] + part_x * images[..., top, right]
    under = (1 - part_x) * images[..., bottom, left] + part_x * images[..., bottom, right]
    return (1 - part_y) * upper + part_y * under


def colour(images: Tensor, generator: Generator, cut_max: int) -> Tensor:
    """x + sum_k c_k sin(pi k x) with coefficients per image and channel, and (B, C, H·W, K) sines."""
    cut = int(_integers(1, cut_max, generator))
    variance = 0.01 * float(_uniform(generator))
    levels = images.flatten(2)
    coefficients = _normal(generator, *levels.shape[:2], cut) * math.sqrt(variance)
    waves = torch.sin(levels[..., None] * (math.pi * torch.arange(1, cut + 1, device=images.device)))
    return (torch.einsum("bcf,bcnf->bcn", coefficients, waves) + levels).clamp(0, 1).view_as(images)


def random_filter(images: Tensor, generator: Generator, cut_max: int) -> Tensor:
    """A 3×3 filter of its own for every image, the identity and noise, by grouped convolution."""
    batch = len(images)
    weights = 4 * float(_uniform(generator)) * _normal(generator, batch, 1, 3, 3)
    weights[:, :, 1, 1] += 1
    return F.conv2d(images.transpose(0, 1), weights, padding=1, groups=batch).transpose(0, 1).clamp(0, 1)


def _uniform(generator: Generator, *shape: int) -> Tensor:
    return torch.rand(shape, generator=generator, device=generator.device)


def _normal(generator: Generator, *shape: int) -> Tensor:
    return torch.randn(shape, generator=generator, device=generator.device)


def _integers(low: int, high: int, generator: Generator, *shape: int) -> Tensor:
    """Both ends included."""
    return torch.randint(low, high + 1, shape, generator=generator, device=generator.device)


def _arcsine(generator: Generator) -> float:
    """A variate of Beta(1/2, 1/2)."""
    return math.sin(math.pi / 2 * float(_uniform(generator))) ** 2
