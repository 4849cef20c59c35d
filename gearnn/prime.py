"""PRIME and additive noise as a module: images in, the clean and the augmented views out."""

from __future__ import annotations

from typing import Any, Optional, Sequence, Tuple

from gearnn.augmenter import Augmenter, Indices, as_numpy
from gearnn.kernels.prime_plan import LARGEST_CUT, PRIME_OPERATIONS, PrimePlan, draw_prime_plan


class PRIME(Augmenter):
    """PRIME's max-entropy primitives in AugMix's mixture (Modas et al., ECCV 2022, arXiv 2112.13547), its CIFAR settings.

    Every image has draws of its own, and the filter's delta is in the centre of its kernel. Additive Gaussian noise is
    ``PRIME(operations=("noise",), width=1, depth=1)``.

    Args:
        operations: names from diffeomorphism, colour, filter and noise, drawn uniformly at each step.
        width: chains mixed per augmented view (W).
        depth: operations per chain (D); None draws 1, 2 or 3 for each chain.
        views: views per image, the clean one included (J).
        alpha: of the Dirichlet over chains and the Beta between the clean image and the mixture.
        pad, flip: as in ``ERA``.
        cut_max: the most modes per axis of a diffeomorphism and frequencies of a colour transformation, 3..100.
        colour_max: upper limit of the variance of colour coefficients.
        filter_max: upper limit of the standard deviation of filter weights.
        noise_max: upper limit of that of the noise, for images in [0, 1].
        output: what comes out, as ``Augmenter`` takes it: mean, std, dtype, memory_format, backend.

    Raises:
        ValueError: one sentence, if a setting is out of its range.
    """

    def __init__(
        self,
        operations: Sequence[str] = PRIME_OPERATIONS[:3],
        width: int = 3,
        depth: Optional[int] = None,
        views: int = 3,
        alpha: float = 1.0,
        *,
        pad: int = 0,
        flip: bool = False,
        cut_max: int = LARGEST_CUT,
        colour_max: float = 0.01,
        filter_max: float = 4.0,
        noise_max: float = 0.1,
        **output: Any,
    ) -> None:
        super().__init__(**output)
        self.settings = {
            "operations": tuple(operations),
            "width": width,
            "depth": depth,
            "views": views,
            "alpha": alpha,
            "pad": pad,
            "flip": flip,
            "cut_max": cut_max,
            "colour_max": colour_max,
            "filter_max": filter_max,
            "noise_max": noise_max,
        }
        self.plan([], seed=0, image_size=(1, 1))  # refuses settings out of range here, not at the first batch

    def plan(self, indices: Indices, *, seed: int, epoch: int = 0, image_size: Tuple[int, int]) -> PrimePlan:
        """The plan that ``forward`` executes for these samples (see ``Augmenter.plan``)."""
        settings: Any = self.settings
        return draw_prime_plan(as_numpy(indices), seed=seed, epoch=epoch, image_size=image_size, **settings)

    def extra_repr(self) -> str:
        return ", ".join(f"{name}={value}" for name, value in self.settings.items())
