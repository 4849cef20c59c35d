"""All the randomness of ERA, drawn beforehand as plain arrays.

A plan row is a function of (seed, epoch, sample index) and of the settings only: it does not depend on the batch the
sample is in, its place there, the worker or the rank. Whoever executes the plan (torch, Numba, CUDA) draws nothing.

The operations and their ranges are those of AugMix (Hendrycks et al., ICLR 2020; google-research/augmix), without
the four that overlap the test corruptions (colour, contrast, brightness, sharpness). ERA is the setting (width 1,
depth 3, views 4) of GEARnn (arXiv 2410.07691).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional, Sequence, Tuple, Union

import numpy as np

from .operation import ADDED, BUILT_IN, extended_family, operation_names
from .philox import below, uniform
from .plan_draws import STEP, Plan, Stream, array_of, axes, check_mixture, draw_depth, draw_frame, draw_mixture

OPERATIONS = BUILT_IN
"""What is drawn from unless told otherwise. ``ops`` holds positions in ``operation_names()``, which begins with these."""

NO_OPERATION = -1
_MIN_LEVEL = 0.1
_MAX_SEVERITY = 10.0


@dataclass(frozen=True)
class EraPlan(Plan):
    """What happens to each of B images in V = views - 1 augmented views, W chains and up to D steps.

    All arrays are C-contiguous.
    """

    ops: np.ndarray = array_of(np.int32, "BVWD")
    """int32 (B, V, W, D): positions in operation_names(), -1 = no operation (only at the end of a chain)."""
    args: np.ndarray = array_of(np.float32, "BVWD")
    """float32 (B, V, W, D), sign included: rotate in degrees counter-clockwise, shear as a slope, translate in pixels,
    posterize in bits kept, solarize as the threshold; 0 where the operation takes nothing."""
    chain_weights: np.ndarray = array_of(np.float32, "BVW")
    """float32 (B, V, W) ~ Dirichlet(alpha): the weight of each chain; they sum to 1."""
    mix: np.ndarray = array_of(np.float32, "BV")
    """float32 (B, V) ~ Beta(alpha, alpha): the weight of the mixture of chains; the clean image gets 1 - mix."""
    crop: np.ndarray = array_of(np.int32, "B2")
    """int32 (B, 2): (dy, dx) in [-pad, pad]; pixel (y, x) comes from (y + dy, x + dx), and is 0 if outside."""
    flip: np.ndarray = array_of(np.bool_, "B")
    """bool (B,): mirror left-right, after the crop."""

    @property
    def family(self) -> str:
        """With all registered operations if one of them is in the plan, else "augmix"."""
        return extended_family() if (self.ops >= len(OPERATIONS)).any() else "augmix"


def draw_plan(
    indices: Union[Sequence[int], np.ndarray],
    *,
    seed: int,
    epoch: int,
    image_size: Tuple[int, int],
    severity: float = 3.0,
    width: int = 1,
    depth: Optional[int] = 3,
    views: int = 4,
    alpha: float = 1.0,
    pad: int = 0,
    flip: bool = False,
    operations: Optional[Sequence[str]] = None,
) -> EraPlan:
    """Draw the plan of one batch.

    Args:
        indices: the samples' positions in the data set, (B,) integers in [0, 2**63).
        seed: any integer, taken modulo 2**64.
        epoch: integer in [0, 2**32).
        image_size: (height, width) in pixels; a third of it scales the translations.
        severity: levels are drawn from U(0.1, severity), severity in (0, 10].
        width: W, chains per view.
        depth: D, operations per chain; None draws 1, 2 or 3 for each chain.
        views: J = V + 1, the clean view included.
        alpha: concentration of the Dirichlet and the Beta distribution.
        pad: largest crop offset in pixels; 0 = no crop.
        flip: mirror each image with probability 1/2.
        operations: names to draw from, each as often; None takes OPERATIONS.

    Raises:
        ValueError: one sentence, if an argument is out of its range.
    """
    if not 0 < severity <= _MAX_SEVERITY:
        raise ValueError(f"severity must be in (0, {_MAX_SEVERITY:g}], got {severity}.")
    check_mixture(image_size, width, depth, views, alpha, pad)
    chosen = _positions(OPERATIONS if operations is None else operations)
    draw = Stream(indices, seed, epoch)
    used = draw_depth(draw, views, width, depth)
    view, chain, step = axes(*used.shape[1:])
    words = draw(STEP, view, chain, step)
    ops = chosen[below(words[..., 0], len(chosen))]
    level = _MIN_LEVEL + (severity - _MIN_LEVEL) * uniform(words[..., 1])
    sign = np.where(words[..., 2] >> 31, -1.0, 1.0)
    args = _resolve(ops, level, sign, image_size)
    chain_weights, mix = draw_mixture(draw, views, width, alpha)
    crop, flips = draw_frame(draw, pad, flip)
    return EraPlan(
        ops=np.where(used, ops, NO_OPERATION).astype(np.int32),
        args=np.where(used, args, 0.0).astype(np.float32),
        chain_weights=chain_weights,
        mix=mix,
        crop=crop,
        flip=flips,
    )


def _positions(names: Sequence[str]) -> np.ndarray:
    known = operation_names()
    unknown = [name for name in names if name not in known]
    if unknown or not names or isinstance(names, str):
        raise ValueError(f"operations must be some of {', '.join(known)}, got {names!r}.")
    return np.array([known.index(name) for name in names])


def _resolve(ops: np.ndarray, level: np.ndarray, sign: np.ndarray, image_size: Tuple[int, int]) -> np.ndarray:
    """The argument of each operation at its level (0..10): AugMix's ``int_parameter`` and ``float_parameter``."""
    height, width = image_size
    # value = offset + sign * truncate(level * scale); "sign" is -1 where the strength is taken off the offset.
    count = len(operation_names())
    scale, offset, signed = np.zeros(count), np.zeros(count), np.zeros(count, bool)
    for name, top in (
        ("posterize", 4.0),
        ("solarize", 256.0),
        ("rotate", 30.0),
        ("shear_x", 0.3),
        ("shear_y", 0.3),
        ("translate_x", width / 3),
        ("translate_y", height / 3),
    ):
        scale[OPERATIONS.index(name)] = top / 10
        signed[OPERATIONS.index(name)] = name not in ("posterize", "solarize")
    offset[OPERATIONS.index("posterize")] = 4
    offset[OPERATIONS.index("solarize")] = 256
    shears = (ops == OPERATIONS.index("shear_x")) | (ops == OPERATIONS.index("shear_y"))
    strength = level * scale[ops]
    strength = np.where(shears, strength, np.trunc(strength))
    args = offset[ops] + np.where(signed[ops], sign, -1.0) * strength
    for place, operation in enumerate(ADDED.values(), len(OPERATIONS)):
        rows = ops == place
        args[rows] = operation.argument(level[rows], sign[rows], image_size)
    return args
