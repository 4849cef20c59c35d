"""The accuracy gate: which precisions of a network may be deployed, by what they do on their own engine."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Dict, List, Mapping, Optional

import numpy as np

from gearnn.errors import UserError
from gearnn.proportions import FEW, chance_of_loss
from gearnn.robustness import Report

REFERENCE = "fp32"
LARGE = 5.0
"""Points: a larger drop is refused however few the images are."""
LEVEL = 0.05
"""How often chance alone may make a precision that is as good as FP32 look worse than it."""


@dataclass(frozen=True)
class Verdict:
    """On one precision, against FP32 on the same images.

    Attributes:
        clean, robust: accuracies, fractions.
        clean_drop, robust_drop: points (hundredths) below FP32; negative where it is better.
        per_corruption_drop: points below FP32, mean over the severities.
        ready: neither drop is beyond what is allowed; see `verdicts`.
        reason: why not, else "".
        n: images per corruption and severity.
        note: a drop of more than allowed that so few images do not tell from chance, else "".
        clean_chance, robust_chance: how often chance alone would make it lose so much (`chance_of_loss`); None where only
            accuracies are known.
    """

    clean: float
    robust: float
    clean_drop: float
    robust_drop: float
    per_corruption_drop: Dict[str, float]
    ready: bool
    reason: str
    n: int
    note: str = ""
    clean_chance: Optional[float] = None
    robust_chance: Optional[float] = None

    def to_dict(self) -> Dict[str, Any]:
        """JSON-ready."""
        return asdict(self)


def verdicts(reports: Mapping[str, Report], max_drop: float = 1.0) -> Dict[str, Verdict]:
    """Judge each precision by its report.

    A precision is refused for a drop, clean or robust, of more than ``max_drop`` points that the images can tell from chance: on
    the same images, one as good as FP32 would lose so much in less than `LEVEL` of cases. A drop of more than `LARGE` points is
    refused in any case. Where only accuracies are known, the drop has to exceed what is allowed by at least one image, of `FEW`
    or more.

    Args:
        reports: by precision, "fp32" among them, all on the same images and corruptions.
        max_drop: points that clean and robust accuracy may each lie below those of FP32.

    Raises:
        UserError: if ``max_drop`` is negative, or FP32 is missing.
    """
    if not max_drop >= 0:
        raise UserError(f"the allowed drop must be 0 points or more, not {max_drop}")
    if REFERENCE not in reports:
        raise UserError(f"precisions are judged against {REFERENCE}: measure it too")
    return {name: _verdict(report, reports[REFERENCE], max_drop) for name, report in reports.items()}


@dataclass(frozen=True)
class _Drop:
    """Of one kind of accuracy: in points, of how many images in how many versions each, and how likely it is by chance."""

    kind: str
    points: float
    images: int
    versions: int
    chance: Optional[float]

    def beyond(self, allowed: float) -> bool:
        """More than allowed, and more than the images leave open."""
        if self.points <= allowed:
            return False
        if self.chance is not None:
            told = self.chance <= LEVEL
        else:
            told = self.images >= FEW and (self.points - allowed) * self.images * self.versions / 100 >= 1 - 1e-6
        return told or self.points > LARGE

    def __str__(self) -> str:
        lost = round(self.points * self.images / 100)
        of = f" ({lost:,} of {self.images:,} images)" if self.versions == 1 else ""
        return f"{self.kind} accuracy is {self.points:.2f} points{of} below FP32"


def _verdict(report: Report, reference: Report, max_drop: float) -> Verdict:
    cells = sum(map(len, report.per_corruption.values()))
    drops = (
        _Drop(
            "clean",
            _points(reference.clean - report.clean),
            report.n_clean or report.n,
            1,
            _chance(reference.right, report.right),
        ),
        _Drop("robust", _points(reference.robust - report.robust), report.n, cells, _chance(reference.hits, report.hits)),
    )
    over = [str(drop) for drop in drops if drop.beyond(max_drop)]
    unsure = [
        f"{drop}, which {drop.images:,} images do not tell from chance"
        for drop in drops
        if drop.points > max_drop and not drop.beyond(max_drop)
    ]
    return Verdict(
        report.clean,
        report.robust,
        drops[0].points,
        drops[1].points,
        {
            name: _points(float(np.mean(reference.per_corruption[name]) - np.mean(row)))
            for name, row in report.per_corruption.items()
        },
        not over,
        f"{' and '.join(over)}, {max_drop:g} allowed" if over else "",
        report.n,
        "; ".join(unsure),
        drops[0].chance,
        drops[1].chance,
    )


def _chance(reference: Optional[np.ndarray], found: Optional[np.ndarray]) -> Optional[float]:
    """That a network as good as the reference loses so much on the same images; None where they were not kept."""
    if reference is None or found is None or reference.shape != found.shape:
        return None
    return chance_of_loss(reference.astype(np.int64) - found.astype(np.int64))


def _points(share: float) -> float:
    """Hundredths, without the last bits in which means of equal accuracies differ."""
    return round(100 * share, 9) + 0.0


def table(found: Mapping[str, Mapping[str, Any]], per_corruption: bool = False) -> List[str]:
    """Verdicts, each as a dictionary, as lines for people; the corruptions of what is not ready are always shown.

    Latency and size are shown where the dictionaries hold them ("latency_ms_p50", "bytes").
    """
    measured = all("latency_ms_p50" in verdict for verdict in found.values())
    text = [
        f"{'':<12}{'clean':>9}{'robust':>9}  points below FP32" + (f"{'p50 ms':>10}{'MB':>8}" if measured else "") + "  ready"
    ]
    for name, verdict in found.items():
        row = f"{name:<12}{verdict['clean']:>9.1%}{verdict['robust']:>9.1%}"
        row += f"{verdict['clean_drop']:>9.2f}{verdict['robust_drop']:>10.2f}"
        if measured:
            row += f"{verdict['latency_ms_p50']:>10.3f}{verdict['bytes'] / 1e6:>8.2f}"
        note = f" ({verdict['note']})" if verdict.get("note") else ""
        text.append(f"{row}  {'yes' if verdict['ready'] else 'NO: ' + verdict['reason']}{note}")
    shown = {name: verdict for name, verdict in found.items() if name != REFERENCE and (per_corruption or not verdict["ready"])}
    if shown:
        text += ["", f"{'points below FP32':<20}" + "".join(f"{name:>9}" for name in shown)]
        for corruption in next(iter(shown.values()))["per_corruption_drop"]:
            row = "".join(f"{verdict['per_corruption_drop'][corruption]:>9.2f}" for verdict in shown.values())
            text.append(f"{corruption:<20}{row}")
    few = min((verdict["n"] for verdict in found.values()), default=FEW)
    if few < FEW and len(found) > 1:
        text += [
            "",
            f"With {few} images one image is {100 / few:.2f} points: a drop of 1 point in clean accuracy cannot be told.",
        ]
    return text
