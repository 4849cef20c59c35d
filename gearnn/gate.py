"""The accuracy gate: which precisions of a network may be deployed, by what they do on their own engine."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Dict, List, Mapping

import numpy as np

from gearnn.errors import UserError
from gearnn.robustness import Report

REFERENCE = "fp32"


@dataclass(frozen=True)
class Verdict:
    """On one precision, against FP32 on the same images.

    Attributes:
        clean, robust: accuracies, fractions.
        clean_drop, robust_drop: points (hundredths) below FP32; negative where it is better.
        per_corruption_drop: points below FP32, mean over the severities.
        ready: neither drop is above the limit.
        reason: why not, else "".
        n: images per corruption and severity.
    """

    clean: float
    robust: float
    clean_drop: float
    robust_drop: float
    per_corruption_drop: Dict[str, float]
    ready: bool
    reason: str
    n: int

    def to_dict(self) -> Dict[str, Any]:
        """JSON-ready."""
        return asdict(self)


def verdicts(reports: Mapping[str, Report], max_drop: float = 1.0) -> Dict[str, Verdict]:
    """Judge each precision by its report.

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


def _verdict(report: Report, reference: Report, max_drop: float) -> Verdict:
    drops = {"clean": _points(reference.clean - report.clean), "robust": _points(reference.robust - report.robust)}
    over = [f"{kind} accuracy is {drop:.2f} points below FP32" for kind, drop in drops.items() if drop > max_drop]
    return Verdict(
        report.clean,
        report.robust,
        drops["clean"],
        drops["robust"],
        {
            name: _points(float(np.mean(reference.per_corruption[name]) - np.mean(row)))
            for name, row in report.per_corruption.items()
        },
        not over,
        f"{' and '.join(over)}, {max_drop:g} allowed" if over else "",
        report.n,
    )


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
        text.append(f"{row}  {'yes' if verdict['ready'] else 'NO: ' + verdict['reason']}")
    shown = {name: verdict for name, verdict in found.items() if name != REFERENCE and (per_corruption or not verdict["ready"])}
    if shown:
        text += ["", f"{'points below FP32':<20}" + "".join(f"{name:>9}" for name in shown)]
        for corruption in next(iter(shown.values()))["per_corruption_drop"]:
            row = "".join(f"{verdict['per_corruption_drop'][corruption]:>9.2f}" for verdict in shown.values())
            text.append(f"{corruption:<20}{row}")
    return text
