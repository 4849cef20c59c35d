"""What the benchmark found out about one network."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, fields, replace
from typing import Any, Dict, Mapping, Optional, Tuple

import numpy as np

from gearnn.errors import UserError
from gearnn.robustness.corruptions import CORRUPTIONS
from gearnn.robustness.scores import BINS, bootstrap_interval, calibration_error, confidence_gaps, mean_corruption_error


@dataclass(frozen=True)
class Report:
    """Accuracies, errors and intervals as fractions; None is what was not measured.

    Attributes:
        clean: accuracy on the images as they are.
        robust: mean over those of the 15 corruptions that were asked for, and the severities.
        per_corruption: name → accuracy at each of ``severities``.
        kind: "generated": the corruptions were made here, with the published parameters; "official": the published files.
        n: images per corruption and severity.
        seed: of the corruptions and the intervals.
        per_severity: mean over the corruptions of ``per_corruption`` at each of ``severities``.
        extra: mean over the four extra corruptions, which ``robust`` leaves out.
        per_corruption_extra: as ``per_corruption``, of these.
        clean_ece: expected calibration error on clean images (Guo et al., ICML 2017; 15 bins).
        robust_ece: its mean over the corruptions and severities of ``robust``.
        clean_interval, robust_interval: (low, high), 95 %, percentile bootstrap over the test images; an image is drawn with
            all its corrupted versions. They hold what these test images leave open, not what another training would give.
        mce: mean corruption error relative to a baseline; see `against`.
        parameters: "cifar", "tiny-imagenet" or "imagenet": whose strengths the corruptions have.
        n_clean: clean images.
        hits: uint16 (n,): how many of the versions of each image that ``robust`` counts were recognised. Not part of the
            JSON. The difference of two networks' hits, over the number of versions, can be bootstrapped in the same way.
        right: bool (n_clean,): which clean images were recognised. Not part of the JSON, as is the next.
        named: int32 (n_clean,): the class that the network named for each clean image.
    """

    clean: float
    robust: float
    per_corruption: Dict[str, Tuple[float, ...]]
    severities: Tuple[int, ...]
    kind: str
    n: int
    seed: int
    per_severity: Tuple[float, ...] = ()
    extra: Optional[float] = None
    per_corruption_extra: Dict[str, Tuple[float, ...]] = field(default_factory=dict)
    clean_ece: Optional[float] = None
    robust_ece: Optional[float] = None
    clean_interval: Optional[Tuple[float, float]] = None
    robust_interval: Optional[Tuple[float, float]] = None
    mce: Optional[float] = None
    parameters: str = ""
    n_clean: int = 0
    hits: Optional[np.ndarray] = field(default=None, repr=False, compare=False)
    right: Optional[np.ndarray] = field(default=None, repr=False, compare=False)
    named: Optional[np.ndarray] = field(default=None, repr=False, compare=False)

    def against(self, baseline: Report) -> Report:
        """This report with `mce` filled in (Hendrycks & Dietterich, ICLR 2019).

        Raises:
            UserError: if the baseline was measured on other corruptions, severities or images.
        """
        mine, other = ((part.kind, part.parameters, part.severities, part.n) for part in (self, baseline))
        if mine != other:
            raise UserError(
                f"mCE needs a baseline that was measured on the same corrupted images, not on {other} beside {mine} "
                "(kind, parameters, severities, images): measure both together"
            )
        return replace(self, mce=mean_corruption_error(self.per_corruption, baseline.per_corruption))

    def to_dict(self) -> Dict[str, Any]:
        """JSON-ready."""
        plain = {entry.name: getattr(self, entry.name) for entry in fields(self) if entry.compare}
        ready: Dict[str, Any] = json.loads(json.dumps(plain))
        return ready

    def to_json(self) -> str:
        """The report as JSON text."""
        return json.dumps(self.to_dict(), indent=2)


class Tally:
    """What one network does on one set of images, counted batch by batch.

    Attributes:
        right: bool (N,), whether each image was recognised.
        named: int32 (N,), the class that was named for it.
        gaps: float64 (15,), sums of `confidence_gaps`.
    """

    def __init__(self, count: int) -> None:
        self.right = np.zeros(count, dtype=bool)
        self.named = np.zeros(count, dtype=np.int32)
        self.gaps = np.zeros(BINS)

    def add(self, rows: slice, logits: np.ndarray, labels: np.ndarray) -> None:
        """Logits (n, K) and labels (n,) of these images."""
        self.named[rows] = logits.argmax(1)
        self.right[rows] = self.named[rows] == labels
        self.gaps += confidence_gaps(logits, labels)

    @property
    def accuracy(self) -> float:
        """A fraction."""
        return float(np.count_nonzero(self.right) / len(self.right))

    @property
    def ece(self) -> Optional[float]:
        """Expected calibration error."""
        return calibration_error(self.gaps, len(self.right))


def summary(clean: Tally, corrupted: Mapping[Tuple[str, int], Tally], *, kind: str, parameters: str, seed: int) -> Report:
    """The report from the tallies of clean images and of every (corruption, severity), all severities for each corruption."""
    names = list(dict.fromkeys(name for name, _ in corrupted))
    severities = tuple(dict.fromkeys(severity for _, severity in corrupted))
    rows = {name: tuple(corrupted[name, severity].accuracy for severity in severities) for name in names}
    counted = {name: row for name, row in rows.items() if name in CORRUPTIONS}
    extra = {name: row for name, row in rows.items() if name not in CORRUPTIONS}
    tallies = [tally for (name, _), tally in corrupted.items() if name in CORRUPTIONS]
    errors = [error for error in (tally.ece for tally in tallies) if error is not None]
    hits = np.zeros(len(tallies[0].right), dtype=np.uint16)
    for tally in tallies:
        hits += tally.right
    return Report(
        clean=clean.accuracy,
        robust=float(np.mean(list(counted.values()))),
        per_corruption=counted,
        severities=severities,
        kind=kind,
        n=len(hits),
        seed=seed,
        per_severity=tuple(float(mean) for mean in np.mean(list(counted.values()), axis=0)),
        extra=float(np.mean(list(extra.values()))) if extra else None,
        per_corruption_extra=extra,
        clean_ece=clean.ece,
        robust_ece=float(np.mean(errors)) if len(errors) == len(tallies) else None,
        clean_interval=bootstrap_interval(clean.right, seed=seed),
        robust_interval=bootstrap_interval(hits / len(tallies), seed=seed),
        parameters=parameters,
        n_clean=len(clean.right),
        hits=hits,
        right=clean.right,
        named=clean.named,
    )
