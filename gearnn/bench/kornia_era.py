"""A peer: an ERA plan executed with kornia's operations on whole batches of floating-point images."""

from __future__ import annotations

from typing import Callable, Dict

import numpy as np
import torch
from torch import Tensor

from gearnn.kernels.affine import affine_matrices
from gearnn.kernels.era_plan import OPERATIONS, EraPlan

_GEOMETRIC = [OPERATIONS.index(name) for name in ("rotate", "shear_x", "shear_y", "translate_x", "translate_y")]


def kornia_views(images: Tensor, plan: EraPlan) -> Tensor:
    """The clean and the augmented views. At each step of the chains, one call per operation for all images that it falls to.

    Args:
        images: float32 (B, C, H, W) in [0, 1].
        plan: of B images, without crop and flip.

    Returns:
        float32 (J, B, C, H, W) in [0, 1].
    """
    batch, extra, width, depth = plan.ops.shape
    chains = images.repeat_interleave(extra * width, dim=0)
    ops, args = plan.ops.reshape(-1, depth), plan.args.reshape(-1, depth)
    for step in range(depth):
        _apply_step(chains, ops[:, step], args[:, step])
    chains = chains.view(batch, extra, width, *images.shape[1:])
    mix = torch.from_numpy(plan.mix).to(images.device).view(batch, extra, 1, 1, 1)
    weights = torch.from_numpy(plan.chain_weights).to(images.device).view(batch, extra, width, 1, 1, 1)
    views = (1 - mix) * images[:, None] + mix * (weights * chains).sum(2)
    return torch.cat([images[None], views.transpose(0, 1)])


def _apply_step(images: Tensor, ops: np.ndarray, args: np.ndarray) -> None:
    """One operation per image, in place; kornia's own automatic contrast is ``normalize_min_max``."""
    import kornia.enhance as enhance
    from kornia.geometry.transform import warp_affine

    def here(array: np.ndarray) -> Tensor:
        return torch.from_numpy(array).to(images.device)

    steps: Dict[str, Callable[[Tensor, Tensor], Tensor]] = {
        "autocontrast": lambda chosen, arg: enhance.normalize_min_max(chosen),
        "equalize": lambda chosen, arg: enhance.equalize(chosen),
        "posterize": lambda chosen, arg: enhance.posterize(chosen, arg.int()),
        "solarize": lambda chosen, arg: enhance.solarize(chosen, arg / 255),
    }
    for name, operation in steps.items():
        places = np.flatnonzero(ops == OPERATIONS.index(name))
        if len(places):
            rows = here(places)
            images[rows] = operation(images[rows], here(args[places]))
    places = np.flatnonzero(np.isin(ops, _GEOMETRIC) & (args != 0))
    if len(places):
        height, width = images.shape[-2:]
        rows = here(places)
        matrices = here(_forward_matrices(ops[places], args[places], height, width)).float()
        images[rows] = warp_affine(images[rows], matrices, (height, width), padding_mode="zeros", align_corners=True)


def _forward_matrices(ops: np.ndarray, args: np.ndarray, height: int, width: int) -> np.ndarray:
    """Source → output maps in whole pixel positions, float64 (N, 2, 3), as kornia takes them."""
    maps = affine_matrices(ops, args, (height, width)).reshape(-1, 2, 3)
    linear = np.linalg.inv(maps[:, :, :2])
    # Ours have pixel centres at half-integers: x' = A (x + ½) + t - ½.
    shift = maps[:, :, :2].sum(2) / 2 + maps[:, :, 2] - 0.5
    return np.concatenate([linear, -np.einsum("nij,nj->ni", linear, shift)[..., None]], axis=2)
