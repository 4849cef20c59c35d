"""All the randomness of PRIME and of additive noise, drawn beforehand: what ``era_plan`` is for AugMix's operations.

Ranges are those of PRIME's published CIFAR settings (Modas et al., ECCV 2022; amodas/PRIME-augmentations): a primitive is drawn
uniformly at each step. Coefficients that an operation needs many of (modes, frequencies, pixels) are not stored: the plan holds
the key of a stream of normal variates, so they are as much a function of (seed, epoch, sample index) as the rest.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Optional, Sequence, Tuple, Union

import numpy as np

from .philox import below, uniform, uniform_open
from .plan_draws import KEY, STEP, Plan, Stream, array_of, axes, check_mixture, check_whole, draw_depth, draw_frame, draw_mixture

PRIME_OPERATIONS: Tuple[str, ...] = ("diffeomorphism", "colour", "filter", "noise")
"""``ops`` holds positions in this tuple. PRIME draws from the first three."""
NO_OPERATION = -1
LARGEST_CUT = 100  # modes of a diffeomorphism per axis, frequencies of a colour transformation
_SMALLEST_CUT = 2
_LARGEST_STRENGTH = 1e6


@dataclass(frozen=True)
class PrimePlan(Plan):
    """What happens to each of B images in V = views - 1 augmented views, W chains and up to D steps.

    All arrays are C-contiguous; chain_weights, mix, crop and flip are those of ``EraPlan``.
    """

    family: ClassVar[str] = "prime"
    ops: np.ndarray = array_of(np.int32, "BVWD")
    """int32 (B, V, W, D): positions in PRIME_OPERATIONS, -1 = no operation (only at the end of a chain)."""
    args: np.ndarray = array_of(np.float32, "BVWD2")
    """float32 (B, V, W, D, 2): strength and cut. Diffeomorphism: the square root of the temperature, and modes per axis;
    colour: the standard deviation of a coefficient, and the number of frequencies; filter and noise: the standard
    deviation of a weight or a pixel, images being in [0, 1], and 0."""
    words: np.ndarray = array_of(np.int64, "BVWD4")
    """int64 (B, V, W, D, 4): key (2 words) and upper half of the counter (2 words) of the step's normal variates."""
    chain_weights: np.ndarray = array_of(np.float32, "BVW")
    mix: np.ndarray = array_of(np.float32, "BV")
    crop: np.ndarray = array_of(np.int32, "B2")
    flip: np.ndarray = array_of(np.bool_, "B")

    def checked(self) -> PrimePlan:
        """As for all plans; cuts must also be whole numbers that the kernels' scratch is made for."""
        plan = super().checked()
        cut = plan.args[..., 1]
        if ((cut < 0) | (cut > LARGEST_CUT)).any():
            raise ValueError(f"the plan's cuts must be in [0, {LARGEST_CUT}], got up to {cut.max():g}.")
        return plan


def draw_prime_plan(
    indices: Union[Sequence[int], np.ndarray],
    *,
    seed: int,
    epoch: int,
    image_size: Tuple[int, int],
    operations: Sequence[str] = PRIME_OPERATIONS[:3],
    width: int = 3,
    depth: Optional[int] = None,
    views: int = 3,
    alpha: float = 1.0,
    pad: int = 0,
    flip: bool = False,
    cut_max: int = LARGEST_CUT,
    colour_max: float = 0.01,
    filter_max: float = 4.0,
    noise_max: float = 0.1,
) -> PrimePlan:
    """Draw the plan of one batch; arguments that are not named here are those of ``era_plan.draw_plan``.

    Args:
        operations: names from PRIME_OPERATIONS, drawn uniformly.
        cut_max: the most modes of a diffeomorphism, whose cut is drawn from {2, ..., U{3..cut_max}} by an arcsine law, and
            the most frequencies of a colour transformation, drawn from U{1..cut_max}.
        colour_max: the variance of colour coefficients is drawn from U(0, colour_max).
        filter_max: the standard deviation of filter weights is drawn from U(0, filter_max).
        noise_max: that of additive noise, for images in [0, 1], from U(0, noise_max).

    Raises:
        ValueError: one sentence, if an argument is out of its range.
    """
    unknown = [name for name in operations if name not in PRIME_OPERATIONS]
    if unknown or not operations:
        raise ValueError(f"operations must be some of {', '.join(PRIME_OPERATIONS)}, got {tuple(operations)}.")
    check_whole("cut_max", cut_max, _SMALLEST_CUT + 1, LARGEST_CUT)
    for name, value in (("colour_max", colour_max), ("filter_max", filter_max), ("noise_max", noise_max)):
        if not 0 <= value <= _LARGEST_STRENGTH:
            raise ValueError(f"{name} must be in [0, {_LARGEST_STRENGTH:g}], got {value}.")
    check_mixture(image_size, width, depth, views, alpha, pad)

    draw = Stream(indices, seed, epoch)
    used = draw_depth(draw, views, width, depth)
    view, chain, step = axes(*used.shape[1:])
    words = draw(STEP, view, chain, step)
    choices = np.array([PRIME_OPERATIONS.index(name) for name in operations])
    ops = choices[below(words[..., 0], len(choices))]
    strength, cut = np.zeros(ops.shape), np.zeros(ops.shape)
    limits = {"colour": colour_max, "filter": filter_max, "noise": noise_max}
    for name, limit in limits.items():
        rows = ops == PRIME_OPERATIONS.index(name)
        drawn = limit * uniform(words[..., 1][rows])
        strength[rows] = np.sqrt(drawn) if name == "colour" else drawn
    rows = ops == PRIME_OPERATIONS.index("colour")
    cut[rows] = 1 + below(words[..., 2][rows], cut_max)
    rows = ops == PRIME_OPERATIONS.index("diffeomorphism")
    strength[rows], cut[rows] = _diffeomorphism(words[rows], cut_max, max(image_size))

    chain_weights, mix = draw_mixture(draw, views, width, alpha)
    crop, flips = draw_frame(draw, pad, flip)
    return PrimePlan(
        ops=np.where(used, ops, NO_OPERATION).astype(np.int32),
        args=np.ascontiguousarray(np.stack((strength, cut), axis=-1), np.float32),
        words=draw(KEY, view, chain, step).astype(np.int64),
        chain_weights=chain_weights,
        mix=mix,
        crop=crop,
        flip=flips,
    )


def _diffeomorphism(words: np.ndarray, cut_max: int, side: int) -> Tuple[np.ndarray, np.ndarray]:
    """Square roots of temperatures and cuts, (N,) each, from uint32 words (N, 4).

    The temperature lies between that of a typical displacement of half a pixel and the highest without folds (Petrini et al.,
    NeurIPS 2021), where in between by an arcsine law: Beta(1/2, 1/2).
    """
    highest = _SMALLEST_CUT + 1 + below(words[:, 1], cut_max - _SMALLEST_CUT)
    cut = np.minimum(np.floor(_SMALLEST_CUT + _arcsine(words[:, 2]) * (highest + 1 - _SMALLEST_CUT)), highest)
    lowest_temperature = 1 / (np.pi * side**2 * np.log(cut))
    highest_temperature = np.maximum(4 / (np.pi**3 * cut**2 * np.log(cut)), lowest_temperature)
    temperature = lowest_temperature + _arcsine(words[:, 3]) * (highest_temperature - lowest_temperature)
    return np.sqrt(temperature), cut


def _arcsine(words: np.ndarray) -> np.ndarray:
    """uint32 words as variates of Beta(1/2, 1/2)."""
    return np.sin(np.pi / 2 * uniform_open(words)) ** 2
