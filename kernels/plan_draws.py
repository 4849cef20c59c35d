"""What all plans draw in the same way: streams of random words, the weights of a mixture, crop and flip."""

from __future__ import annotations

from dataclasses import field, fields
from typing import Any, Dict, Optional, Sequence, Tuple, TypeVar, Union

import numpy as np

from .philox import below, philox4x32, split64, uniform_open

AnyPlan = TypeVar("AnyPlan", bound="Plan")

MAX_COUNT = 256
MAX_PAD = 1 << 15  # pixels
MIN_ALPHA = 1e-6
RANDOM_DEPTH = 3  # depth=None draws 1..3 operations per chain

# A counter is (slot, epoch, index low, index high), slot = purpose << 24 | step << 16 | chain << 8 | view. A slot per
# purpose means that changing the views, the width or the depth leaves the draws that remain as they were.
STEP, DEPTH, WEIGHT, MIX, FRAME, KEY = range(6)


class Stream:
    """The blocks of a batch of samples: ``draw(purpose, view, chain, step)`` -> uint32 (B, ..., 4)."""

    def __init__(self, indices: Union[Sequence[int], np.ndarray], seed: int, epoch: int) -> None:
        indices = np.asarray(indices)
        if indices.size == 0:
            indices = indices.astype(np.int64)
        if indices.ndim != 1 or indices.dtype.kind not in "iu" or (indices.size and indices.min() < 0):
            raise ValueError(f"indices must be a list of integers >= 0, got {indices.dtype} of shape {indices.shape}.")
        check_whole("epoch", epoch, 0, (1 << 32) - 1)
        if not isinstance(seed, (int, np.integer)):
            raise ValueError(f"seed must be a whole number, got {seed!r}.")
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


class Plan:
    """What plans have in common: dataclasses of arrays (``array_of``), whose first axis is the B images."""

    ops: np.ndarray
    chain_weights: np.ndarray
    mix: np.ndarray
    crop: np.ndarray
    flip: np.ndarray

    @property
    def family(self) -> str:
        """The family of its operations, a key of ``FAMILIES``."""
        raise NotImplementedError

    def __len__(self) -> int:
        """The number of images, B."""
        return len(self.ops)

    @property
    def views(self) -> int:
        """The number of views with the clean one, V + 1."""
        return int(self.ops.shape[1] + 1)

    def select(self: AnyPlan, rows: Union[slice, np.ndarray]) -> AnyPlan:
        """The plan of some of the images, by slice, positions or mask."""
        return type(self)(*(np.ascontiguousarray(getattr(self, one.name)[rows]) for one in fields(self)))  # type: ignore[arg-type]

    def checked(self: AnyPlan) -> AnyPlan:
        """The same plan with arrays of the types and layout that kernels read, since it may have been made by hand.

        Raises:
            ValueError: one sentence, if an array is missing, has another shape than the others, or holds what is not finite.
        """
        arrays = {}
        sides: Dict[str, int] = {}
        for one in fields(self):  # type: ignore[arg-type]
            name, kind, axes_ = one.name, one.metadata["dtype"], one.metadata["shape"]
            array = getattr(self, name)
            if not isinstance(array, np.ndarray) or array.ndim != len(axes_):
                raise ValueError(f"the plan's {name} must be an array with axes {axes_}.")
            for letter, side in zip(axes_, array.shape):
                if sides.setdefault(letter, side) != side or (letter.isdigit() and int(letter) != side):
                    raise ValueError(f"the plan's {name} has shape {array.shape}, which does not fit its other arrays.")
            if array.dtype.kind == "f" and not np.isfinite(array).all():
                raise ValueError(f"the plan's {name} must be finite.")
            arrays[name] = np.ascontiguousarray(array, kind)
        return type(self)(**arrays)


def array_of(dtype: Any, shape: str) -> Any:
    """A plan's field: an array of a type, with an axis for each letter of ``shape``; a digit is the length of its axis."""
    return field(metadata={"dtype": dtype, "shape": shape})


def axes(*sides: int) -> Tuple[np.ndarray, ...]:
    """Positions along each side, to be broadcast together, after one axis for the images: (1, n, 1, 1), (1, 1, m, 1), ..."""
    return tuple(axis[None] for axis in np.indices(sides, sparse=True))


def draw_depth(draw: Stream, views: int, width: int, depth: Optional[int]) -> np.ndarray:
    """Which steps of a chain are used: bool (B, views - 1, width, D); with ``depth`` None the first 1, 2 or 3 of D = 3."""
    steps = RANDOM_DEPTH if depth is None else depth
    view, chain, step = axes(views - 1, width, steps)
    if depth is not None:
        return np.ones((len(draw), views - 1, width, steps), bool)
    length = 1 + below(draw(DEPTH, view, chain, np.zeros_like(step[..., :1]))[..., 0], RANDOM_DEPTH)
    return np.broadcast_to(step < length, (len(draw), views - 1, width, steps))


def draw_mixture(draw: Stream, views: int, width: int, alpha: float) -> Tuple[np.ndarray, np.ndarray]:
    """Chain weights ~ Dirichlet(alpha), float32 (B, views - 1, width), and m ~ Beta(alpha, alpha), float32 (B, views - 1)."""
    view, chain = axes(views - 1, width)
    if width == 1:
        weights = np.ones((len(draw), views - 1, 1))
    else:
        weights = _normalise(_log_gamma(draw, WEIGHT, alpha, view, chain))
    mix = _normalise(_log_gamma(draw, MIX, alpha, view, np.arange(2)[None, None]))[..., 0]
    return weights.astype(np.float32), mix.astype(np.float32)


def draw_frame(draw: Stream, pad: int, flip: bool) -> Tuple[np.ndarray, np.ndarray]:
    """Crop offsets in [-pad, pad], int32 (B, 2), and flips, bool (B,)."""
    origin = np.zeros((1,), np.int64)
    words = draw(FRAME, origin, origin, origin)
    return (below(words[:, :2], 2 * pad + 1) - pad).astype(np.int32), (words[:, 2] >> 31).astype(bool) & bool(flip)


def check_mixture(image_size: Tuple[int, int], width: int, depth: Optional[int], views: int, alpha: float, pad: int) -> None:
    """Refuse settings out of their range.

    Raises:
        ValueError: one sentence.
    """
    if not MIN_ALPHA <= alpha < np.inf:
        raise ValueError(f"alpha must be {MIN_ALPHA} or more, got {alpha}.")
    for name, value in (("width", width), ("depth", 1 if depth is None else depth), ("views", views)):
        check_whole(name, value, 1, MAX_COUNT)
    check_whole("pad", pad, 0, MAX_PAD)
    if len(image_size) != 2:
        raise ValueError(f"image_size must be (height, width) in pixels, got {image_size}.")
    for side in image_size:
        check_whole("a side of image_size", side, 1, 1 << 24)


def check_whole(name: str, value: Any, low: int, high: int) -> None:
    """Refuse what is not a whole number in [low, high].

    Raises:
        ValueError: one sentence.
    """
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or not low <= value <= high:
        raise ValueError(f"{name} must be a whole number in [{low}, {high}], got {value!r}.")


def _log_gamma(draw: Stream, purpose: int, alpha: float, view: np.ndarray, chain: np.ndarray) -> np.ndarray:
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
    for attempt in range(MAX_COUNT):  # each succeeds with probability > 0.95
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
