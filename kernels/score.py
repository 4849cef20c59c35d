"""The door to the growth scores' kernels: sums per channel over activations and gradients, and the best of all layers."""

from __future__ import annotations

import sys
from typing import Any, NamedTuple, Optional, Sequence

import numpy as np

from .arrays import dtype_name, like, on_device, to_host
from .registry import choose
from .threads import usable_threads

_TYPES = ("float32", "float16", "bfloat16", "float64")


class ChannelSums(NamedTuple):
    """Σ g·a, Σ g² and Σ a² per channel, each float64 (C,), in the library and on the device of what was summed."""

    ga: Any
    gg: Any
    aa: Any


class Ranking(NamedTuple):
    """The best scores of all layers, best first: int64 (k,) which layer, int64 (k,) where in it, and (k,) the score itself."""

    layer: Any
    position: Any
    value: Any


def channel_sums(activations: Any, gradients: Any, *, backend: str = "auto", threads: Optional[int] = None) -> ChannelSums:
    """Σ g·a, Σ g² and Σ a² per channel, in one pass over memory.

    Σ g·a over images and positions is the derivative of a loss by a factor on the channel: the Taylor criterion of Molchanov et
    al. (arXiv 1906.10771) and Firefly's score (arXiv 2102.08574). Short sums in float32 are merged into float64 on the CPU
    and into pairs of float32 on CUDA. Σ g² and Σ a² are within 1e-6 of float64's, relatively, and Σ g·a is within 1e-6 of
    Σ |g·a|, as long as the products lie in float32's normal range, 1.2e-38 to 3.4e38. The order of additions follows from the
    shape alone: the same arrays give the same bits, whatever the number of threads.

    Args:
        activations: (N, C), (N, C, L) or (N, C, H, W), float32, float16 or bfloat16 (float64: on the reference back end): NumPy,
            torch (CPU or CUDA), CuPy, or anything with DLPack in CPU memory. Planar and channels-last memory is read in place,
            anything else is copied once.
        gradients: of the same shape and type, on the same device.
        backend: "auto", "numba", "cupy" or "reference".
        threads: on the CPU; None takes all cores that the process may use.

    Raises:
        ValueError: one sentence, if the two do not fit each other or are none of the above.
        KernelError: if the back end cannot run here.
    """
    kind = _common_type(activations, gradients)
    a, g = _bits(activations), _bits(gradients)
    device = on_device(a)
    kernel = "cupy" if device else "numba"
    order = ("reference",) if kind == "float64" else (kernel, "reference")
    chosen = choose(backend, order, f"channel sums of {kind} on {'CUDA' if device else 'the CPU'}")
    threads = usable_threads(threads)
    if 0 in a.shape:
        sums = like(np.zeros((3, a.shape[1])), a)
    elif chosen == "cupy":
        from .score_cuda import channel_sums_cuda

        sums = channel_sums_cuda(a, g, kind)
    elif chosen == "numba":
        from .score_cpu import channel_sums_cpu

        sums = like(channel_sums_cpu(_kernel_view(to_host(a)), _kernel_view(to_host(g)), threads), a)
    else:
        from .score_reference import channel_sums_reference

        sums = like(channel_sums_reference(_widened(to_host(a)), _widened(to_host(g))), a)
    return ChannelSums(sums[0], sums[1], sums[2])


def top_k(scores: Sequence[Any], k: int, largest: bool = True) -> Ranking:
    """The k best scores over all layers, found where the scores lie.

    Among equal scores the lower layer comes first, then the lower position; NaN comes last.

    Args:
        scores: per layer (n_i,), floating point, all of one library, type and device: NumPy, torch or CuPy. A layer may be empty.
        k: at least 0; where there are fewer scores, all are ranked.
        largest: whether the largest are best, or the smallest.

    Raises:
        ValueError: for no layers, for arrays that are not one-dimensional or not alike, or for k below 0.
    """
    if any(not hasattr(one, "dtype") or dtype_name(one) not in _TYPES for one in scores):
        kinds = [dtype_name(one) if hasattr(one, "dtype") else type(one).__name__ for one in scores]
        raise ValueError(f"top_k needs arrays of {', '.join(_TYPES)}, got {kinds}.")
    alike = {(type(one), dtype_name(one), str(getattr(one, "device", ""))) for one in scores}
    if len(alike) != 1 or any(len(one.shape) != 1 for one in scores) or not isinstance(k, (int, np.integer)) or k < 0:
        shapes = [tuple(one.shape) for one in scores]
        raise ValueError(
            f"top_k needs (n,) arrays of one library, type and device and a whole k from 0, got {shapes} and k = {k}."
        )
    library: Any = sys.modules[type(scores[0]).__module__.split(".")[0]]
    values = library.concatenate(tuple(one.detach() if hasattr(one, "detach") else one for one in scores))
    keys = -values if largest else values
    order = {"numpy": _stable_order, "torch": _stable_order_torch, "cupy": library.argsort}[library.__name__](keys)[:k]
    sizes = np.array([len(one) for one in scores])
    ends, starts = like(np.cumsum(sizes), values), like(np.cumsum(sizes) - sizes, values)
    layer = library.searchsorted(ends, order, side="right")
    return Ranking(layer, order - starts[layer], values[order])


def _common_type(a: Any, g: Any) -> str:
    """The type of both arrays' elements.

    Raises:
        ValueError: unless they are floating-point (N, C), (N, C, L) or (N, C, H, W), alike in shape, type, library and device.
    """
    for name, array in (("activations", a), ("gradients", g)):
        if not hasattr(array, "dtype") or dtype_name(array) not in _TYPES:
            found = dtype_name(array) if hasattr(array, "dtype") else type(array).__name__
            raise ValueError(f"{name} must be an array of {', '.join(_TYPES)}, got {found}.")
        if not 2 <= len(array.shape) <= 4:
            raise ValueError(f"{name} must be (N, C), (N, C, L) or (N, C, H, W), got shape {tuple(array.shape)}.")
    if tuple(a.shape) != tuple(g.shape) or dtype_name(a) != dtype_name(g):
        raise ValueError(
            f"activations and gradients must be alike in shape and type, got {tuple(a.shape)} {dtype_name(a)} "
            f"and {tuple(g.shape)} {dtype_name(g)}."
        )
    places = [f"{type(array).__module__.split('.')[0]} {getattr(array, 'device', 'cpu')}" for array in (a, g)]
    if places[0] != places[1]:
        raise ValueError(f"activations and gradients must lie on one device, in one library, got {places[0]} and {places[1]}.")
    return dtype_name(a)


def _bits(array: Any) -> Any:
    """The same memory without a gradient's history, and bfloat16, which few libraries know, as int16 bits."""
    if hasattr(array, "detach"):
        array = array.detach()
    if dtype_name(array) != "bfloat16":
        return array
    return array.view(sys.modules["torch"].int16 if hasattr(array, "detach") else np.int16)


def _kernel_view(array: np.ndarray) -> np.ndarray:
    """What the compiled loop takes: float32, float16 as uint16 bits, bfloat16 as int16 bits."""
    return array.view(np.uint16) if array.dtype == np.float16 else array


def _widened(array: np.ndarray) -> np.ndarray:
    """bfloat16's int16 bits as float32; other types as they are."""
    return (array.astype(np.int32) << 16).view(np.float32) if array.dtype == np.int16 else array


def _stable_order(keys: np.ndarray) -> np.ndarray:
    return np.argsort(keys, kind="stable")


def _stable_order_torch(keys: Any) -> Any:
    return keys.argsort(stable=True)
