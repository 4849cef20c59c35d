"""Do two executions of one network agree? Numbers, and a sentence if they do not."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Callable

from gearnn.engine.errors import EngineError

if TYPE_CHECKING:  # NumPy is imported on use: the command line imports this package before it knows what to do
    import numpy as np

    Execution = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Comparison:
    """How far a candidate's logits are from a reference's, over all images and classes."""

    max_abs: float
    """Largest absolute difference of a logit; NaN if either execution gave a number that is not finite."""
    mean_abs: float
    """Mean absolute difference of the logits."""
    top1_agreement: float
    """Fraction of images on which both name the same class."""
    n: int
    """Images compared."""
    worst: int
    """Position of the image with the largest difference, or of the first with a number that is not finite."""
    max_rel: float = float("nan")
    """Largest absolute difference over the magnitude of the reference's logit, which counts as at least a thousandth of the
    largest logit: near zero, rounding alone would give any ratio."""
    mean_rel: float = float("nan")
    """Mean of the same ratio."""
    cosine: float = float("nan")
    """Cosine of the angle between the two sets of logits, all images together."""

    largest: float = 0.0
    """Largest absolute logit of the reference."""

    def allowed(self, atol: float = 1e-4) -> float:
        """The difference that `check` allows: ``atol`` for logits up to 10, in proportion for larger ones.

        float32 rounds in proportion: where logits reach 150, two right executions differ by 2e-4.
        """
        return atol * max(1.0, self.largest / 10) if math.isfinite(self.largest) else atol

    def check(self, atol: float = 1e-4, top1: float = 0.999) -> None:
        """Do nothing if the two agree.

        Args:
            atol: largest absolute difference of a logit that is allowed, see `allowed`.
            top1: smallest allowed fraction of images with the same class; 0.999 allows no exception below 1,000 images.

        Raises:
            EngineError: saying what differed, by how much, and on which image.
        """
        classes = f"{self.top1_agreement:.2%} of the classes agree"
        if not self.max_abs <= self.allowed(atol):  # also true of NaN
            raise EngineError(
                f"the two executions disagree: logits differ by up to {self.max_abs:.3g} (allowed {self.allowed(atol):.3g}, "
                f"mean {self.mean_abs:.3g}), worst on image {self.worst} of {self.n}, and {classes}: "
                "gearnn compare tells from which layer on"
            )
        if self.top1_agreement < top1:
            raise EngineError(
                f"the two executions disagree: {classes} on {self.n} images (at least {top1:.2%} wanted), though logits differ "
                f"by at most {self.max_abs:.3g} (image {self.worst}): the network is undecided, train it longer"
            )


def compare(reference: Execution, candidate: Execution, inputs: np.ndarray, *, batch_size: int = 64) -> Comparison:
    """Run both on the same images, batch by batch, and compare the logits.

    Args:
        reference: images → float32 (B, K); for instance a torch network.
        candidate: the same of the execution in question; for instance `Runtime.run`.
        inputs: (N, …), whatever both take: real images or random ones. Constant inputs are refused: on them, wrong weights and
            swapped axes go unnoticed.
        batch_size: images per call; the last batch may be smaller.

    Raises:
        EngineError: for inputs that are empty or constant, or outputs whose shapes differ.
    """
    import numpy as np

    if len(inputs) == 0 or inputs.min() == inputs.max():
        raise EngineError("comparing needs real images: the inputs given are empty or hold one value only")
    wanted_rows, got_rows = [], []
    for start in range(0, len(inputs), batch_size):
        batch = inputs[start : start + batch_size]
        wanted, got = np.asarray(reference(batch)), np.asarray(candidate(batch))
        if wanted.shape != got.shape or wanted.shape[:1] != (len(batch),) or wanted.ndim != 2:
            raise EngineError(
                f"the two executions must give logits of one shape ({len(batch)}, classes) for images {start} to "
                f"{start + len(batch) - 1}, but the reference gave {wanted.shape} and the candidate {got.shape}"
            )
        wanted_rows.append(wanted.astype(np.float64))
        got_rows.append(got.astype(np.float64))
    return _compare_logits(np.concatenate(wanted_rows), np.concatenate(got_rows))


def _compare_logits(wanted: np.ndarray, got: np.ndarray) -> Comparison:
    """Of float64 (N, K) both."""
    import numpy as np

    with np.errstate(invalid="ignore", divide="ignore"):
        difference = np.abs(got - wanted)
        relative = difference / np.maximum(np.abs(wanted), 1e-3 * np.abs(wanted).max())
        cosine = (wanted * got).sum() / (np.linalg.norm(wanted) * np.linalg.norm(got))
    per_image = difference.max(axis=1)
    worst = int(per_image.argmax())  # NaN counts as the largest
    agreed = float((wanted.argmax(axis=1) == got.argmax(axis=1)).mean())
    return Comparison(
        float(per_image[worst]), float(difference.mean()), agreed, len(wanted), worst,
        float(relative.max()), float(relative.mean()), float(cosine), float(np.abs(wanted).max()),
    )  # fmt: skip
