"""Philox4x32-10: random numbers as a function of a counter and a key, with no state to carry or share.

Salmon, Moraes, Dror and Shaw, "Parallel Random Numbers: As Easy as 1, 2, 3" (SC 2011). One block is four 32-bit words,
``philox4x32(counter, key)``; any block can be computed in any order, by any worker, with the same bits.
"""

from __future__ import annotations

from typing import Tuple

import numpy as np

_ROUNDS = 10
_MULTIPLIERS = (np.uint64(0xD2511F53), np.uint64(0xCD9E8D57))
_WEYL = (0x9E3779B9, 0xBB67AE85)  # added to the key after each round
_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)


def split64(value: int) -> Tuple[int, int]:
    """The (low, high) 32-bit words of an integer taken modulo 2**64; negative integers wrap."""
    value = int(value) % (1 << 64)
    return value & 0xFFFFFFFF, value >> 32


def philox4x32(counter: np.ndarray, key: Tuple[int, int]) -> np.ndarray:
    """The random block of every counter.

    Args:
        counter: uint32 (..., 4), one counter per block.
        key: two 32-bit words, the same for all blocks.

    Returns:
        uint32 (..., 4): four independent uniform words per block.

    Raises:
        ValueError: if ``counter`` has no last axis of four words, or ``key`` is not two 32-bit words.
    """
    counter = np.asarray(counter)
    if counter.ndim == 0 or counter.shape[-1] != 4:
        raise ValueError(f"counter must have a last axis of 4 words, got shape {counter.shape}.")
    if len(key) != 2 or not all(0 <= int(word) <= 0xFFFFFFFF for word in key):
        raise ValueError(f"key must be two integers in [0, 2**32), got {key!r}.")
    # 64-bit arrays hold the 32-bit words, so that one product gives both of its halves.
    c0, c1, c2, c3 = (counter[..., i].astype(np.uint64) for i in range(4))
    k0, k1 = int(key[0]), int(key[1])
    for _ in range(_ROUNDS):
        product0 = c0 * _MULTIPLIERS[0]
        product1 = c2 * _MULTIPLIERS[1]
        c0 = (product1 >> _HALF) ^ c1 ^ np.uint64(k0)
        c2 = (product0 >> _HALF) ^ c3 ^ np.uint64(k1)
        c1 = product1 & _LOW
        c3 = product0 & _LOW
        k0, k1 = (k0 + _WEYL[0]) & 0xFFFFFFFF, (k1 + _WEYL[1]) & 0xFFFFFFFF
    return np.stack((c0, c1, c2, c3), axis=-1).astype(np.uint32)


def uniform(words: np.ndarray) -> np.ndarray:
    """uint32 words as float64 in [0, 1), equally spaced by 2**-32."""
    return words * 2.0**-32


def uniform_open(words: np.ndarray) -> np.ndarray:
    """uint32 words as float64 in (0, 1), both ends left out: safe under logarithms."""
    return (words + 0.5) * 2.0**-32


def below(words: np.ndarray, n: int) -> np.ndarray:
    """uint32 words as int64 in {0, ..., n - 1}; the bias is below n / 2**32."""
    return ((words.astype(np.uint64) * np.uint64(n)) >> _HALF).astype(np.int64)
