"""What ERA and PRIME share as modules: images in, the clean and the augmented views out, by a plan and the kernels."""

from __future__ import annotations

from typing import Any, Optional, Sequence, Tuple, Union

import numpy as np
import torch
from torch import nn

from gearnn.kernels.era import era_views
from gearnn.kernels.plan_draws import Plan
from gearnn.kernels.registry import BACKENDS

Indices = Union[Sequence[int], np.ndarray, torch.Tensor]


class Augmenter(nn.Module):
    """Draws a plan and executes it; what it draws is up to ``plan``.

    Args:
        mean: with ``std``, per channel on the scale of [0, 1]: the views come out normalised.
        dtype: of the views, torch.float32 or torch.float16.
        memory_format: torch.channels_last lays the views out for convolutions that prefer it.
        backend: "auto", or one of the kernels' back ends by name ("numba", "cuda", "reference").

    Raises:
        ValueError: one sentence, if a setting is none of these.
    """

    def __init__(
        self,
        *,
        mean: Optional[Sequence[float]] = None,
        std: Optional[Sequence[float]] = None,
        dtype: torch.dtype = torch.float32,
        memory_format: torch.memory_format = torch.contiguous_format,
        backend: str = "auto",
    ) -> None:
        super().__init__()
        if (mean is None) != (std is None):
            raise ValueError("mean and std must be given both or neither.")
        if dtype not in (torch.float32, torch.float16):
            raise ValueError(f"dtype must be torch.float32 or torch.float16, got {dtype}.")
        if memory_format not in (torch.contiguous_format, torch.channels_last):
            raise ValueError(f"memory_format must be torch.contiguous_format or torch.channels_last, got {memory_format}.")
        if backend not in ("auto", *BACKENDS):
            raise ValueError(f"backend must be auto or one of {', '.join(BACKENDS)}, got {backend!r}.")
        self.mean = mean
        self.std = std
        self.dtype = dtype
        self.memory_format = memory_format
        self.backend = backend

    def plan(self, indices: Indices, *, seed: int, epoch: int = 0, image_size: Tuple[int, int]) -> Plan:
        """The plan that ``forward`` executes for these samples: a function of (seed, epoch, sample index) alone.

        Args:
            indices: (B,) integers >= 0, the samples' positions in the data set.
            image_size: (height, width) in pixels.
        """
        raise NotImplementedError

    @torch.no_grad()
    def forward(
        self,
        images: Any,
        *others: Any,
        indices: Optional[Indices] = None,
        epoch: int = 0,
        seed: Optional[int] = None,
        plan: Optional[Plan] = None,
    ) -> Any:
        """The views of each image, the clean one first.

        It may stand in a ``torchvision.transforms.v2.Compose``, which hands on a sample's parts as they come: the labels and
        whatever else follows the images is handed back as it is.

        Args:
            images: (B, C, H, W) or (C, H, W), uint8, or floating point in [0, 1]. The operations work on 256 levels, so
                floating-point images are rounded to them first, the clean view too. Or a tuple or list whose first part they are.
            others: what goes with the images.
            indices: (B,) positions in the data set; the default is 0, 1, ..., B - 1.
            epoch: with the seed and the index, the key of the draws.
            seed: the default is drawn from torch's default generator, so that ``torch.manual_seed`` decides.
            plan: executes this plan instead; indices, epoch, seed and the module's own settings are then not used.

        Returns:
            (views, B, C, H, W), or (views, C, H, W) for a single image, on the device of the images; in [0, 1] if there is no
            mean and std to normalise with. With ``others``, or parts after the images, a tuple that begins with the views.

        Raises:
            ValueError: one sentence, if the images, the indices or the plan do not fit.
            KernelError: if the back end asked for cannot run here.
        """
        together = bool(others)
        if isinstance(images, (tuple, list)) and images:
            images, others, together = images[0], (*images[1:], *others), True
        batch = to_levels(images)
        single = batch.ndim == 3
        if single:
            batch = batch[None]
        if plan is None:
            if seed is None:
                seed = int(torch.randint(2**63 - 1, ()))
            if indices is None:
                indices = np.arange(len(batch))
            height, width = batch.shape[-2:]
            plan = self.plan(indices, seed=seed, epoch=epoch, image_size=(height, width))
        views = era_views(
            batch,
            plan,
            mean=self.mean,
            std=self.std,
            dtype=str(self.dtype).rsplit(".", 1)[-1],
            channels_last=self.memory_format == torch.channels_last,
            backend=self.backend,
            threads=torch.get_num_threads(),
        )
        views = views[:, 0] if single else views
        return (views, *others) if together else views


def to_levels(images: torch.Tensor) -> torch.Tensor:
    """Images as uint8: uint8 passes through, floating point in [0, 1] is rounded to the nearest of 256 levels.

    Raises:
        ValueError: if ``images`` is not (B, C, H, W) or (C, H, W), is of another type, or leaves [0, 1].
    """
    if not isinstance(images, torch.Tensor) or images.ndim not in (3, 4):
        shape = tuple(images.shape) if isinstance(images, torch.Tensor) else type(images).__name__
        cure = "" if isinstance(images, torch.Tensor) else ": convert pictures first, as torchvision's PILToTensor does"
        raise ValueError(f"images must be a tensor (B, C, H, W) or (C, H, W), got {shape}{cure}.")
    images = images.as_subclass(torch.Tensor)  # torchvision's kinds of tensors give plain views
    if images.dtype == torch.uint8:
        return images
    if not images.is_floating_point():
        raise ValueError(f"images must be uint8 or floating point in [0, 1], got {images.dtype}.")
    if images.numel() and not (images.min() >= 0 and images.max() <= 1):
        raise ValueError(
            f"floating-point images must be in [0, 1], got {float(images.min()):.3g} to {float(images.max()):.3g}: "
            "divide by 255, or augment before normalising."
        )
    return images.float().mul(255).round_().to(torch.uint8)


def as_numpy(indices: Indices) -> Union[Sequence[int], np.ndarray]:
    """Sample positions as the plans take them."""
    return indices.cpu().numpy() if isinstance(indices, torch.Tensor) else indices
