"""ERA, the augmentation of GEARnn, as a module: images in, the clean and the augmented views out."""

from __future__ import annotations

from typing import Any, Optional, Sequence, Tuple, Union

import numpy as np
import torch
from torch import nn

from gearnn.config import Augmentation
from gearnn.errors import UserError
from gearnn.kernels.era import era_views
from gearnn.kernels.era_plan import EraPlan, draw_plan

Indices = Union[Sequence[int], np.ndarray, torch.Tensor]


class ERA(nn.Module):
    """Efficient robust augmentation: AugMix with one chain of three operations and four views (GEARnn, arXiv 2410.07691).

    AugMix itself (Hendrycks et al., ICLR 2020) is ``ERA(width=3, depth=None, views=3)``.

    Args:
        severity: operation levels are drawn from U(0.1, severity), severity in (0, 10].
        width: chains mixed per augmented view (W).
        depth: operations per chain (D); None draws 1, 2 or 3 for each chain.
        views: views per image, the clean one included (J); 1 gives the clean view only.
        alpha: of the Dirichlet over chains and the Beta between the clean image and the mixture.
        pad: crop offsets are drawn from [-pad, pad] pixels over a black border.
        flip: mirror left-right with probability 1/2. Crop and flip are shared by all views of an image.
        mean: with ``std``, per channel on the scale of [0, 1]: the views come out normalised.
        dtype: of the views, torch.float32 or torch.float16.
        memory_format: torch.channels_last lays the views out for convolutions that prefer it.
        backend: "auto", or one of the kernels' back ends by name ("numba", "cuda", "reference").

    Raises:
        ValueError: one sentence, if a setting is out of its range.
    """

    def __init__(
        self,
        severity: float = 3,
        width: int = 1,
        depth: Optional[int] = 3,
        views: int = 4,
        alpha: float = 1.0,
        *,
        pad: int = 0,
        flip: bool = False,
        mean: Optional[Sequence[float]] = None,
        std: Optional[Sequence[float]] = None,
        dtype: torch.dtype = torch.float32,
        memory_format: torch.memory_format = torch.contiguous_format,
        backend: str = "auto",
    ) -> None:
        super().__init__()
        self.severity = severity
        self.width = width
        self.depth = depth
        self.views = views
        self.alpha = alpha
        self.pad = pad
        self.flip = flip
        self.mean = mean
        self.std = std
        self.dtype = dtype
        self.memory_format = memory_format
        self.backend = backend
        self.plan([], seed=0, image_size=(1, 1))  # refuses settings out of range here, not at the first batch

    def plan(self, indices: Indices, *, seed: int, epoch: int = 0, image_size: Tuple[int, int]) -> EraPlan:
        """The plan that ``forward`` executes for these samples: a function of (seed, epoch, sample index) alone.

        Args:
            indices: (B,) integers >= 0, the samples' positions in the data set.
            image_size: (height, width) in pixels.
        """
        if isinstance(indices, torch.Tensor):
            indices = indices.cpu().numpy()
        return draw_plan(
            indices,
            seed=seed,
            epoch=epoch,
            image_size=image_size,
            severity=self.severity,
            width=self.width,
            depth=self.depth,
            views=self.views,
            alpha=self.alpha,
            pad=self.pad,
            flip=self.flip,
        )

    @torch.no_grad()
    def forward(
        self,
        images: torch.Tensor,
        *,
        indices: Optional[Indices] = None,
        epoch: int = 0,
        seed: Optional[int] = None,
        plan: Optional[EraPlan] = None,
    ) -> torch.Tensor:
        """The views of each image, the clean one first.

        Args:
            images: (B, C, H, W) or (C, H, W), uint8, or floating point in [0, 1]. The operations work on 256 levels, so
                floating-point images are rounded to them first, the clean view too.
            indices: (B,) positions in the data set; the default is 0, 1, ..., B - 1.
            epoch: with the seed and the index, the key of the draws.
            seed: the default is drawn from torch's default generator, so that ``torch.manual_seed`` decides.
            plan: executes this plan instead; indices, epoch, seed and the module's own settings are then not used.

        Returns:
            (views, B, C, H, W), or (views, C, H, W) for a single image, on the device of the images; in [0, 1] if there is no
            mean and std to normalise with.

        Raises:
            ValueError: one sentence, if the images, the indices or the plan do not fit.
            KernelError: if the back end asked for cannot run here.
        """
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
        return views[:, 0] if single else views

    def extra_repr(self) -> str:
        names = ("severity", "width", "depth", "views", "alpha", "pad", "flip")
        return ", ".join(f"{name}={getattr(self, name)}" for name in names)


def to_levels(images: torch.Tensor) -> torch.Tensor:
    """Images as uint8: uint8 passes through, floating point in [0, 1] is rounded to the nearest of 256 levels.

    Raises:
        ValueError: if ``images`` is not (B, C, H, W) or (C, H, W), is of another type, or leaves [0, 1].
    """
    if not isinstance(images, torch.Tensor) or images.ndim not in (3, 4):
        shape = tuple(images.shape) if isinstance(images, torch.Tensor) else type(images).__name__
        raise ValueError(f"images must be a tensor (B, C, H, W) or (C, H, W), got {shape}.")
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


def era_from(settings: Augmentation, views: int, *, pad: int = 0, flip: bool = False, **output: Any) -> ERA:
    """ERA with a run's settings; ``output`` are ERA's own options for what comes out.

    Raises:
        UserError: if a setting is out of its range.
    """
    try:
        return ERA(settings.severity, settings.width, settings.depth, views, settings.alpha, pad=pad, flip=flip, **output)
    except ValueError as error:
        raise UserError(f"{error} (see the options that begin with --augmentation)") from error
