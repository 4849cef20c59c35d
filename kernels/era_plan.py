"""All the randomness of ERA, drawn beforehand as plain arrays.

A plan row is a function of (seed, epoch, sample index) and of the settings only: it does not depend on the batch the
sample is in, its place there, the worker or the rank. Whoever executes the plan (torch, Numba, CUDA) draws nothing.

The operations and their ranges are those of AugMix (Hendrycks et al., ICLR 2020; google-research/augmix), without
the four that overlap the test corruptions (colour, contrast, brightness, sharpness). ERA is the setting (width 1,
depth 3, views 4) of GEARnn (arXiv 2410.07691).
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import ClassVar, Optional, Sequence, Tuple, Union

import numpy as np

from .philox import below, philox4x32, split64, uniform, uniform_open

OPERATIONS: Tuple[str, ...] = (
    "autocontrast",
    "equalize",
    "posterize",
    "rotate",
    "solarize",
    "shear_x",
    "shear_y",
    "translate_x",
    "translate_y",
)
"""``ops`` holds positions in this tuple."""

NO_OPERATION = -1
RANDOM_DEPTH = 3  # depth=None draws 1..3 operations per chain
_MIN_LEVEL = 0.1
_MAX_SEVERITY = 10.0

# A counter is (slot, epoch, index low, index high), slot = purpose << 24 | step << 16 | chain << 8 | view. A slot per
# purpose means that changing the views, the width or the depth leaves the draws that remain as they were.
_STEP, _DEPTH, _WEIGHT, _MIX, _FRAME = range(5)
_MAX_COUNT = 256


@dataclass(frozen=True)
class EraPlan:
    """What happens to each of B images in V = views - 1 augmented views, W chains and up to D steps.

    All arrays are C-contiguous.
    """

    family: ClassVar[str] = "augmix"
    ops: np.ndarray
    """int32 (B, V, W, D): positions in OPERATIONS, -1 = no operation (only at the end of a chain)."""
    args: np.ndarray
    """float32 (B, V, W, D), sign included: rotate in degrees counter-clockwise, shear as a slope, translate in pixels,
    posterize in bits kept, solarize as the threshold; 0 where the operation takes nothing."""
    chain_weights: np.ndarray
    """float32 (B, V, W) ~ Dirichlet(alpha): the weight of each chain; they sum to 1."""
    mix: np.ndarray
    """float32 (B, V) ~ Beta(alpha, alpha): the weight of the mixture of chains; the clean image gets 1 - mix."""
    crop: np.ndarray
    """int32 (B, 2): (dy, dx) in [-pad, pad]; pixel (y, x) comes from (y + dy, x + dx), and is 0 if outside."""
    flip: np.ndarray
    """bool (B,): mirror left-right, after the crop."""

    def __len__(self) -> int:
        """The number of images, B."""
        return len(self.ops)

    @property
    def views(self) -> int:
        """The number of views with the clean one, V + 1."""
        return self.ops.shape[1] + 1

    def select(self, rows: Union[slice, np.ndarray]) -> EraPlan:
        """The plan of some of the images, by slice, positions or mask."""
        return EraPlan(*(np.ascontiguousarray(getattr(self, field.name)[rows]) for field in fields(self)))


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

    Raises:
        ValueError: one sentence, if an argument is out of its range.
    """
    _check_settings(image_size, severity, width, depth, views, alpha, pad)
    steps = RANDOM_DEPTH if depth is None else depth
    draw = _Stream(indices, seed, epoch)
    shape = (views - 1, width, steps)
    view, chain, step = (axis[None] for axis in np.indices(shape, sparse=True))

    words = draw(_STEP, view, chain, step)
    ops = below(words[..., 0], len(OPERATIONS))
    level = _MIN_LEVEL + (severity - _MIN_LEVEL) * uniform(words[..., 1])
    sign = np.where(words[..., 2] >> 31, -1.0, 1.0)
    args = _resolve(ops, level, sign, image_size)
    if depth is None:
        length = 1 + below(draw(_DEPTH, view, chain, np.zeros_like(step[..., :1]))[..., 0], RANDOM_DEPTH)
        used = step < length
        ops, args = np.where(used, ops, NO_OPERATION), np.where(used, args, 0.0)

    if width == 1:
        chain_weights = np.ones((len(draw), views - 1, 1))
    else:
        chain_weights = _normalise(_log_gamma(draw, _WEIGHT, alpha, view[..., 0], chain[..., 0]))
    mix = _normalise(_log_gamma(draw, _MIX, alpha, view[..., 0], np.arange(2)[None, None]))[..., 0]

    origin = np.zeros((1,), np.int64)
    words = draw(_FRAME, origin, origin, origin)
    return EraPlan(
        ops=ops.astype(np.int32),
        args=args.astype(np.float32),
        chain_weights=chain_weights.astype(np.float32),
        mix=mix.astype(np.float32),
        crop=(below(words[:, :2], 2 * pad + 1) - pad).astype(np.int32),
        flip=(words[:, 2] >> 31).astype(bool) & bool(flip),
    )


class _Stream:
    """The blocks of a batch of samples: ``draw(purpose, view, chain, step)`` -> uint32 (B, ..., 4)."""

    def __init__(self, indices: Union[Sequence[int], np.ndarray], seed: int, epoch: int) -> None:
        indices = np.asarray(indices)
        if indices.size == 0:
            indices = indices.astype(np.int64)
        if indices.ndim != 1 or indices.dtype.kind not in "iu" or (indices.size and indices.min() < 0):
            raise ValueError(f"indices must be a list of integers >= 0, got {indices.dtype} of shape {indices.shape}.")
        if not 0 <= epoch < 1 << 32:
            raise ValueError(f"epoch must be in [0, 2**32), got {epoch}.")
        self.indices = indices.astype(np.uint64)
        self.epoch = int(epoch)
        self.key = split64(seed)

    def __len__(self) -> int:
        return len(self.indices)

    def __call__(self, purpose: int, view: np.ndarray, chain: np.ndarray, step: np.ndarray) -> np.ndarray:
        slot = purpose << 24 | step << 16 | chain << 8 | view
        indices = self.indices.reshape((-1,) + (1,) * (slot.ndim - 1))
        counter = np.empty((*np.broadcast(slot, indices).shape, 4), np.uint32)
        counter[..., 0] = slot
        counter[..., 1] = self.epoch
        counter[..., 2] = indices & np.uint64(0xFFFFFFFF)
        counter[..., 3] = indices >> np.uint64(32)
        return philox4x32(counter, self.key)


def _resolve(ops: np.ndarray, level: np.ndarray, sign: np.ndarray, image_size: Tuple[int, int]) -> np.ndarray:
    """The argument of each operation at its level (0..10), AugMix's ``int_parameter`` and ``float_parameter``."""
    height, width = image_size
    # value = offset + sign * truncate(level * scale); "sign" is -1 where the strength is taken off the offset.
    scale = np.zeros(len(OPERATIONS))
    offset = np.zeros(len(OPERATIONS))
    signed = np.zeros(len(OPERATIONS), bool)
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
    return offset[ops] + np.where(signed[ops], sign, -1.0) * strength


def _log_gamma(draw: _Stream, purpose: int, alpha: float, view: np.ndarray, chain: np.ndarray) -> np.ndarray:
    """Logarithms of Gamma(alpha, 1) variates, float64 (B, views, chains).

    Marsaglia and Tsang, "A simple method for generating gamma variables" (2000), one block per attempt: two words for a
    normal variate (Box-Muller), one to accept, one for the boost from alpha + 1 down to alpha where alpha < 1.
    Logarithms keep small alpha from underflowing.
    """
    if alpha == 1:
        words = draw(purpose, view, chain, np.zeros_like(view))
        return np.log(-np.log(uniform_open(words[..., 0])))
    shape = alpha + 1 if alpha < 1 else alpha
    d = shape - 1 / 3
    c = 1 / np.sqrt(9 * d)
    result = np.zeros(np.broadcast(draw.indices[:, None, None], view, chain).shape)
    pending = np.ones(result.shape, bool)
    for attempt in range(_MAX_COUNT):  # each succeeds with probability > 0.95
        u = uniform_open(draw(purpose, view, chain, np.full_like(view, attempt)))
        normal = np.sqrt(-2 * np.log(u[..., 0])) * np.cos(2 * np.pi * u[..., 1])
        v = np.maximum(1 + c * normal, 1e-12) ** 3
        accepted = np.log(u[..., 2]) < 0.5 * normal**2 + d - d * v + d * np.log(v)
        value = np.log(d * v) + (np.log(u[..., 3]) / alpha if alpha < 1 else 0.0)
        result = np.where(pending & accepted, value, result)
        pending &= ~accepted
        if not pending.any():
            break
    return result


def _normalise(log_gamma: np.ndarray) -> np.ndarray:
    """Gamma variates (given as logarithms) divided by their sum over the last axis: a Dirichlet variate."""
    gamma = np.exp(log_gamma - log_gamma.max(axis=-1, keepdims=True, initial=-np.inf))
    return gamma / gamma.sum(axis=-1, keepdims=True)


def _check_settings(
    image_size: Tuple[int, int], severity: float, width: int, depth: Optional[int], views: int, alpha: float, pad: int
) -> None:
    if not 0 < severity <= _MAX_SEVERITY:
        raise ValueError(f"severity must be in (0, {_MAX_SEVERITY:g}], got {severity}.")
    if not 0 < alpha < np.inf:
        raise ValueError(f"alpha must be positive, got {alpha}.")
    for name, value in (("width", width), ("depth", 1 if depth is None else depth), ("views", views)):
        if not 1 <= value <= _MAX_COUNT:
            raise ValueError(f"{name} must be in [1, {_MAX_COUNT}], got {value}.")
    if pad < 0:
        raise ValueError(f"pad must be >= 0 pixels, got {pad}.")
    if len(image_size) != 2 or min(image_size) < 1:
        raise ValueError(f"image_size must be (height, width) in pixels, got {image_size}.")
