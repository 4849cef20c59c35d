"""ERA, the augmentation of GEARnn, as a module: images in, the clean and the augmented views out."""

from __future__ import annotations

from typing import Optional, Sequence, Tuple, Union

import numpy as np
import torch
from torch import nn

from gearnn.augment.reference import apply_plan
from gearnn.config import Augmentation
from gearnn.errors import UserError
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
    ) -> None:
        super().__init__()
        self.severity = severity
        self.width = width
        self.depth = depth
        self.views = views
        self.alpha = alpha
        self.pad = pad
        self.flip = flip
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
            float32 (views, B, C, H, W), or (views, C, H, W) for a single image, in [0, 1], on the device of the images.

        Raises:
            ValueError: one sentence, if the images, the indices or the plan do not fit.
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
        views = apply_plan(batch, plan)
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


def era_from(settings: Augmentation, views: int, *, pad: int = 0, flip: bool = False) -> ERA:
    """ERA with a run's settings.

    Raises:
        UserError: if a setting is out of its range.
    """
    try:
        return ERA(settings.severity, settings.width, settings.depth, views, settings.alpha, pad=pad, flip=flip)
    except ValueError as error:
        raise UserError(f"{error} (see the options that begin with --augmentation)") from error
