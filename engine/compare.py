"""Do two ways of running a network agree?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Callable

import numpy as np

from gearnn.engine.errors import EngineError

Network = Callable[[np.ndarray], np.ndarray]
"""float32 images (B, C, H, W) → logits (B, K)."""


@dataclass(frozen=True)
class Comparison:
    """How far the logits of two networks are apart on ``n`` images.

    Attributes:
        max_abs, mean_abs: of the absolute differences.
        top1_agreement: the fraction of images for which the highest logit is the same class.
        worst: position of the image with the greatest difference.
    """

    max_abs: float
    mean_abs: float
    top1_agreement: float
    worst: int
    n: int

    def check(self, max_abs: float = 1e-4, top1: float = 1.0) -> None:
        """Insist on agreement.

        Raises:
            EngineError: if logits differ by more than ``max_abs`` or fewer than ``top1`` of the top classes agree.
        """
        if not (self.max_abs <= max_abs and self.top1_agreement >= top1):
            raise EngineError(
                f"the engine does not agree with the network: logits differ by up to {self.max_abs:.2e} (allowed {max_abs:.0e}, "
                f"worst at image {self.worst} of {self.n}) and {self.top1_agreement:.2%} of the classes agree: export it again "
                "with another opset"
            )


def compare(reference: Network, candidate: Network, inputs: np.ndarray, *, batch_size: int = 64) -> Comparison:
    """Run both on the same images and compare the logits, in float64.

    Args:
        inputs: float32 (N, C, H, W), real images or random ones: constants hide errors.

    Raises:
        EngineError: if the images are empty or all equal, or the outputs have different shapes.
    """
    if not len(inputs) or float(np.ptp(inputs)) == 0.0:
        raise EngineError("a comparison needs images that differ from pixel to pixel: give it real or random ones")
    starts = range(0, len(inputs), batch_size)
    first = np.concatenate([reference(inputs[start : start + batch_size]) for start in starts]).astype(np.float64)
    second = np.concatenate([candidate(inputs[start : start + batch_size]) for start in starts]).astype(np.float64)
    if first.shape != second.shape:
        raise EngineError(
            f"the two networks give outputs of different shapes, {first.shape} and {second.shape}: they are not the same network"
        )
    gaps = np.abs(first - second)
    return Comparison(
        max_abs=float(gaps.max()),
        mean_abs=float(gaps.mean()),
        top1_agreement=float(np.mean(first.argmax(1) == second.argmax(1))),
        worst=int(gaps.max(1).argmax()),
        n=len(inputs),
    )
