"""ERA, the augmentation of GEARnn, as a module: images in, the clean and the augmented views out."""

from __future__ import annotations

from typing import Any, Optional, Sequence, Tuple

from gearnn.augmenter import Augmenter, Indices, as_numpy
from gearnn.kernels.era_plan import EraPlan, draw_plan


class ERA(Augmenter):
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
        operations: names to draw from, registered ones among them (``gearnn.kernels.operation``); None takes AugMix's nine.
        output: what comes out, as ``Augmenter`` takes it: mean, std, dtype, memory_format, backend.

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
        operations: Optional[Sequence[str]] = None,
        **output: Any,
    ) -> None:
        super().__init__(**output)
        self.severity = severity
        self.width = width
        self.depth = depth
        self.views = views
        self.alpha = alpha
        self.pad = pad
        self.flip = flip
        self.operations = None if operations is None else tuple(operations)
        self.plan([], seed=0, image_size=(1, 1))  # refuses settings out of range here, not at the first batch

    def plan(self, indices: Indices, *, seed: int, epoch: int = 0, image_size: Tuple[int, int]) -> EraPlan:
        """The plan that ``forward`` executes for these samples (see ``Augmenter.plan``)."""
        return draw_plan(
            as_numpy(indices),
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
            operations=self.operations,
        )

    def extra_repr(self) -> str:
        names = ("severity", "width", "depth", "views", "alpha", "pad", "flip", *(("operations",) if self.operations else ()))
        return ", ".join(f"{name}={getattr(self, name)}" for name in names)
