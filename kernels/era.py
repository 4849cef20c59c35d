"""The door to ERA's kernels: images and a plan in, all views out, on whichever back end."""

from __future__ import annotations

from typing import Any, Optional, Sequence, Tuple

import numpy as np

from .arrays import channels_second, dtype_name, empty_on_device, like, on_device, to_host
from .families import FAMILIES
from .plan_draws import Plan
from .registry import choose
from .threads import usable_threads

_TYPES = ("float32", "float16")
_LARGEST_IMAGE = 1 << 24  # pixels: equalize counts them in float32


def era_views(
    images: Any,
    plan: Plan,
    *,
    mean: Optional[Sequence[float]] = None,
    std: Optional[Sequence[float]] = None,
    dtype: str = "float32",
    channels_last: bool = False,
    backend: str = "auto",
    threads: Optional[int] = None,
) -> Any:
    """The clean and the augmented views of a batch (AugMix, Hendrycks et al., ICLR 2020, algorithm 1).

    View 0 is the image after the plan's crop and flip; view v is ``(1 - m) · clean + m · Σ_k w_k · chain_k(clean)``. A row of
    the result depends on its image and its row of the plan only, on the CPU to the bit.

    Args:
        images: uint8 (B, C, H, W): NumPy, torch (CPU or CUDA), CuPy, or anything with DLPack in CPU memory. Contiguous images
            are read in place, others are copied once.
        plan: of B images.
        mean: with ``std``, per channel on the scale of [0, 1]: the views are normalised; None leaves them in [0, 1].
        dtype: of the result, "float32" or "float16".
        channels_last: the result lies in memory as (J, B, H, W, C); its shape is the same.
        backend: "auto", "numba", "cuda" or "reference".
        threads: on the CPU; None takes all cores that the process may use.

    Returns:
        (J, B, C, H, W), an array of the library of ``images``, on the same device; for CUDA, queued on that library's
        current stream.

    Raises:
        ValueError: one sentence, if images, plan or settings do not fit each other.
        KernelError: if the back end cannot run here.
    """
    if not hasattr(images, "dtype") or dtype_name(images) != "uint8" or images.ndim != 4:
        given = f"{dtype_name(images)} of shape {tuple(images.shape)}" if hasattr(images, "dtype") else type(images).__name__
        raise ValueError(f"images must be uint8 (B, C, H, W), got {given}.")
    batch, channels, height, width = shape = tuple(int(side) for side in images.shape)
    if not isinstance(plan, Plan):
        raise ValueError(f"plan must come from draw_plan or draw_prime_plan, got {type(plan).__name__}.")
    plan = plan.checked()
    if len(plan) != batch:
        raise ValueError(f"the plan is for {len(plan)} images, but the batch has {batch}.")
    if dtype not in _TYPES:
        raise ValueError(f"dtype must be one of {', '.join(_TYPES)}, got {dtype!r}.")
    if min(shape[1:]) < 1 or height * width >= _LARGEST_IMAGE:
        raise ValueError(f"images must have 1 to {_LARGEST_IMAGE - 1:,} pixels and a channel, got shape {shape}.")
    shift, scale = _normalisation(mean, std, channels)
    threads = usable_threads(threads)
    device = on_device(images)
    order = ("cuda", "numba", "reference") if device else ("numba", "reference", "cuda")
    chosen = choose(backend, order, f"ERA on {'CUDA' if device else 'CPU'} arrays")
    views = plan.views
    memory = (views, batch, height, width, channels) if channels_last else (views, *shape)

    if chosen == "cuda" and device:
        out = empty_on_device(images, memory, dtype)
    else:
        out = np.empty(memory, dtype)
    if batch == 0:
        pass
    elif chosen == "reference":
        result = FAMILIES[plan.family].reference()(to_host(images), plan)
        if mean is not None:
            result = (result - shift[:, None, None] / 255) / (scale[:, None, None] / 255)
        out[...] = np.moveaxis(result, 2, -1) if channels_last else result
    else:
        encoded = FAMILIES[plan.family].encode(plan, (height, width))
        tail = (*encoded, plan.chain_weights, plan.mix, plan.crop, plan.flip, shift, scale)
        if chosen == "numba":
            from . import era_cpu

            era_cpu.run(plan.family, to_host(images), tail, out.reshape(-1), shape, channels_last, threads)
        else:
            from . import era_cuda

            era_cuda.run(plan.family, images, tail, out, shape, channels_last)
    if isinstance(out, np.ndarray):
        out = like(out, images)
    return channels_second(out) if channels_last else out


def _normalisation(
    mean: Optional[Sequence[float]], std: Optional[Sequence[float]], channels: int
) -> Tuple[np.ndarray, np.ndarray]:
    """What is taken off the 256 levels and what they are divided by, float32 (C,)."""
    if mean is None and std is None:
        mean, std = [0.0] * channels, [1.0] * channels
    given = [
        np.ndim(value) == 1 and len(value) == channels and np.isfinite(value).all() for value in (mean, std) if value is not None
    ]
    if mean is None or std is None or not all(given) or not min(std) > 0:
        raise ValueError(f"mean and std must both be given, for {channels} channels, with std above 0, got {mean} and {std}.")
    return np.array([255 * value for value in mean], np.float32), np.array([255 * value for value in std], np.float32)
