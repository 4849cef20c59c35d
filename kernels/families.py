"""The families of operations that the body can run, each with its plan's encoding and its scratch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Callable, Dict, Tuple

import numpy as np

from . import era_operations, prime_operations
from .affine import affine_matrices, fixed_point
from .block import Block, Function

Encoded = Tuple[np.ndarray, np.ndarray, np.ndarray]
"""ops int32 (B, S), args float32 (B, S, P) and words int64 (B, S, Q) of the S = V·W·D steps of each image."""


@dataclass(frozen=True)
class Family:
    """What the body needs to know of a family of operations."""

    make_step: Callable[[Block], Function]
    level: Any
    """NumPy type of the images between two operations."""
    encode: Callable[[Any, Tuple[int, int]], Encoded]
    """(plan, (height, width)) → the arrays that ``step`` reads."""
    table_size: Callable[[int, int, int], int]
    """(channels, height, width) → elements of ``table`` scratch, of the type ``level``."""
    count_size: Callable[[int], int]
    """channels → elements of int32 ``counts`` scratch."""
    reference: Callable[[], Callable[[np.ndarray, Any], np.ndarray]]
    """() → (images uint8 (B, C, H, W), plan) → float32 (J, B, C, H, W) in [0, 1], without a compiler."""


def _encode_augmix(plan: Any, image_size: Tuple[int, int]) -> Encoded:
    batch = len(plan)
    ops, args = plan.ops.reshape(batch, -1), plan.args.reshape(batch, -1)
    words = fixed_point(affine_matrices(ops.ravel(), args.ravel(), image_size))
    return ops, args[..., None], words.reshape(*ops.shape, 6)


def _encode_prime(plan: Any, image_size: Tuple[int, int]) -> Encoded:
    batch = len(plan)
    return plan.ops.reshape(batch, -1), plan.args.reshape(batch, -1, 2), plan.words.reshape(batch, -1, 4)


def _prime_reference() -> Callable[[np.ndarray, Any], np.ndarray]:
    from .prime_reference import prime_views_reference

    return prime_views_reference


def _augmix_reference() -> Callable[[np.ndarray, Any], np.ndarray]:
    from .era_reference import era_views_reference

    return era_views_reference


FAMILIES: Dict[str, Family] = {
    "augmix": Family(
        make_step=era_operations.make_step,
        level=np.uint8,
        encode=_encode_augmix,
        table_size=lambda channels, height, width: era_operations.TABLE * channels,
        count_size=lambda channels: era_operations.TABLE * channels,
        reference=_augmix_reference,
    ),
    "prime": Family(
        make_step=prime_operations.make_step,
        level=np.float32,
        encode=_encode_prime,
        table_size=prime_operations.table_size,
        count_size=lambda channels: 1,
        reference=_prime_reference,
    ),
}
