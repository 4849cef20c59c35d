"""ERA plans executed with torch, on the device of the images.

Every operation takes uint8 images and gives uint8 images, with Pillow's semantics: the table operations are those of
``PIL.ImageOps`` bit for bit, the geometric ones ``Image.transform(..., AFFINE, BILINEAR)`` with a black fill.
At each step of the chains the images are grouped: one pass for all that are table look-ups, one for all that are warps.
"""

from __future__ import annotations

from typing import Callable, Dict

import numpy as np
import torch
import torch.nn.functional as F

from gearnn.kernels.affine import affine_matrices
from gearnn.kernels.era_plan import OPERATIONS, EraPlan

# Values of chain images worked on at a time: keeps the temporaries near the cache, and small for large images.
_CHUNK = 1 << 20

_GEOMETRIC = np.array([name in ("rotate", "shear_x", "shear_y", "translate_x", "translate_y") for name in OPERATIONS])


def apply_plan(images: torch.Tensor, plan: EraPlan) -> torch.Tensor:
    """The clean and the augmented views of a batch.

    View 0 is the image after crop (zero padding) and flip; view v is ``(1 - m) * clean + m * sum_w weight_w * chain_w(clean)``
    with the chains applied to the clean view (AugMix, Hendrycks et al., ICLR 2020, algorithm 1).

    Args:
        images: uint8 (B, C, H, W), any device, C and H, W >= 1.
        plan: of B images.

    Returns:
        float32 (J, B, C, H, W) in [0, 1], on the same device.

    Raises:
        ValueError: if the images are not uint8 (B, C, H, W) or the plan is of another number of images.
    """
    if images.dtype != torch.uint8 or images.ndim != 4:
        raise ValueError(f"images must be uint8 (B, C, H, W), got {images.dtype} of shape {tuple(images.shape)}.")
    if len(plan) != len(images):
        raise ValueError(f"the plan is for {len(plan)} images, but the batch has {len(images)}.")
    views = torch.empty((plan.views, *images.shape), dtype=torch.float32, device=images.device)
    chains = max(1, (plan.views - 1) * plan.ops.shape[2])
    chunk = max(1, _CHUNK // max(1, chains * images[:1].numel()))
    for start in range(0, len(images), chunk):
        rows = slice(start, start + chunk)
        _apply_chunk(images[rows], plan.select(rows), views[:, rows])
    return views


def _apply_chunk(images: torch.Tensor, plan: EraPlan, out: torch.Tensor) -> None:
    batch, extra, width, depth = plan.ops.shape
    clean = crop_flip(images, plan.crop, plan.flip)
    torch.div(clean, 255, out=out[0])
    if extra == 0:
        return
    chains = clean.repeat_interleave(extra * width, dim=0)
    ops, args = plan.ops.reshape(-1, depth), plan.args.reshape(-1, depth)
    for step in range(depth):
        apply_step(chains, ops[:, step], args[:, step])

    chains = chains.view(batch, extra, width, *clean.shape[1:])
    mix = torch.from_numpy(plan.mix).to(out.device)
    weights = mix[..., None] * torch.from_numpy(plan.chain_weights).to(out.device)
    for view in range(extra):
        mixture = torch.mul(clean, (1 - mix[:, view])[:, None, None, None], out=out[view + 1])
        for chain in range(width):
            mixture += chains[:, view, chain] * weights[:, view, chain, None, None, None]
        # Rounding may carry the sum of white pixels one unit in the last place over 255.
        mixture.div_(255).clamp_(max=1)


def crop_flip(images: torch.Tensor, crop: np.ndarray, flip: np.ndarray) -> torch.Tensor:
    """Shift each image by (dy, dx) over a black border, then mirror it left-right where ``flip`` says so.

    uint8 (B, C, H, W), int (B, 2), bool (B,) -> uint8 (B, C, H, W); pixel (y, x) before the flip is the source's
    (y + dy, x + dx).
    """
    if not crop.any() and not flip.any():
        return images.contiguous()
    batch, channels, height, width = images.shape
    pad = int(np.abs(crop).max())
    padded = F.pad(images, (pad, pad, pad, pad))
    x = np.where(flip[:, None], np.arange(width)[::-1], np.arange(width)) + crop[:, 1:] + pad
    y = np.arange(height) + crop[:, :1] + pad
    index = torch.from_numpy(y[:, :, None] * (width + 2 * pad) + x[:, None, :]).to(images.device)
    index = index.view(batch, 1, -1).expand(-1, channels, -1)
    return padded.flatten(2).gather(2, index).view(batch, channels, height, width)


def apply_step(images: torch.Tensor, ops: np.ndarray, args: np.ndarray) -> None:
    """One operation per image, in place.

    Args:
        images: uint8 (N, C, H, W).
        ops: integers (N,), positions in OPERATIONS, or -1.
        args: floats (N,), as in ``EraPlan.args``.
    """
    # A warp with a zero argument is the identity, exactly.
    warps = np.flatnonzero((ops >= 0) & _GEOMETRIC[ops] & (args != 0))
    if len(warps):
        rows = torch.from_numpy(warps).to(images.device)
        height, width = images.shape[-2:]
        matrices = affine_matrices(ops[warps], args[warps], (height, width)).reshape(-1, 2, 3)
        images[rows] = warp(images[rows], torch.from_numpy(matrices).to(images.device))

    kinds = [(np.flatnonzero(ops == OPERATIONS.index(name)), build) for name, build in _TABLES.items()]
    order = np.concatenate([rows for rows, _ in kinds])
    if len(order):
        rows = torch.from_numpy(order).to(images.device)
        group = images[rows].flatten(2)
        tables, start = [], 0
        for members, build in kinds:
            if len(members):
                end = start + len(members)
                tables.append(build(group[start:end], torch.from_numpy(args[members]).to(images.device)))
                start = end
        images[rows] = torch.cat(tables).gather(2, group.long()).view(-1, *images.shape[1:])


def autocontrast_table(images: torch.Tensor, args: torch.Tensor) -> torch.Tensor:
    """Stretches each channel from its (min, max) to (0, 255). uint8 (N, C, HW) -> uint8 (N, C, 256)."""
    low = images.amin(2, keepdim=True).double()
    high = images.amax(2, keepdim=True).double()
    # Not `255.0 / range`, which torch computes as a reciprocal times 255, not always Pillow's quotient.
    scale = torch.full_like(low, 255).div_((high - low).clamp_(min=1))
    levels = _levels(images).double()
    stretched = (levels * scale + -low * scale).clamp(0, 255)
    return torch.where(high > low, stretched, levels).to(torch.uint8)


def equalize_table(images: torch.Tensor, args: torch.Tensor) -> torch.Tensor:
    """Spreads each channel's values so that they are about equally frequent. uint8 (N, C, HW) -> uint8 (N, C, 256)."""
    n, channels, pixels = images.shape
    offsets = torch.arange(0, n * channels * 256, 256, device=images.device).view(n, channels, 1)
    histogram = torch.bincount((images + offsets).flatten(), minlength=n * channels * 256).view(n, channels, 256)
    last = histogram.gather(2, images.amax(2, keepdim=True).long())
    step = (pixels - last) // 255
    before = histogram.cumsum(2) - histogram
    spread = ((step // 2 + before) // step.clamp(min=1)).clamp(max=255)
    return torch.where(step > 0, spread, _levels(images)).to(torch.uint8)


def posterize_table(images: torch.Tensor, args: torch.Tensor) -> torch.Tensor:
    """Keeps the upper ``args`` bits. uint8 (N, C, HW), float (N,) -> uint8 (N, C, 256)."""
    size = 2 ** (8 - args.long())[:, None, None]
    levels = _levels(images)
    return (levels - levels % size).to(torch.uint8).expand(-1, images.shape[1], -1)


def solarize_table(images: torch.Tensor, args: torch.Tensor) -> torch.Tensor:
    """Inverts values from the threshold ``args`` on. uint8 (N, C, HW), float (N,) -> uint8 (N, C, 256)."""
    levels = _levels(images)
    return torch.where(levels < args[:, None, None], levels, 255 - levels).to(torch.uint8).expand(-1, images.shape[1], -1)


_TABLES: Dict[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "autocontrast": autocontrast_table,
    "equalize": equalize_table,
    "posterize": posterize_table,
    "solarize": solarize_table,
}


def _levels(images: torch.Tensor) -> torch.Tensor:
    return torch.arange(256, device=images.device)


def warp(images: torch.Tensor, matrices: torch.Tensor) -> torch.Tensor:
    """Bilinear warp by one matrix per image, like ``Image.transform(size, AFFINE, matrix, BILINEAR)``.

    A pixel whose source lies outside the image is black; inside, neighbours beyond the border repeat the border; the
    value is truncated, not rounded.

    Args:
        images: uint8 (N, C, H, W).
        matrices: float64 (N, 2, 3), output to source coordinates in pixels.

    Returns:
        uint8 (N, C, H, W).
    """
    height, width = images.shape[-2:]
    x = torch.arange(width, dtype=torch.float64, device=images.device) + 0.5
    y = torch.arange(height, dtype=torch.float64, device=images.device)[:, None] + 0.5
    a = matrices[..., None, None]
    source_x = a[:, 0, 0] * x + a[:, 0, 1] * y + a[:, 0, 2]
    source_y = a[:, 1, 0] * x + a[:, 1, 1] * y + a[:, 1, 2]
    outside = (source_x < 0) | (source_x >= width) | (source_y < 0) | (source_y >= height)
    grid = torch.stack((source_x * (2 / width) - 1, source_y * (2 / height) - 1), dim=-1)
    values = F.grid_sample(images.double(), grid, mode="bilinear", padding_mode="border", align_corners=False)
    # In float64 whole numbers may come out a hair too small, and truncation would take them a level down.
    return values.add_(1e-9).masked_fill_(outside[:, None], 0).to(torch.uint8)
