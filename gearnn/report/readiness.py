"""Is the network ready to be deployed: what was checked, what was found, and what was not measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import List, Optional

from gearnn.report.certainty import caveat, guessing, interval, known_to
from gearnn.report.formats import count, less, percent, points, quantity, small
from gearnn.report.markup import Html, tag
from gearnn.report.record import Run, items, mapping, number, text

MAX_ABS, TOP1 = 1e-4, 0.98
"""How far logits of an engine may be from torch's (those up to 10; larger ones in proportion, see `Comparison.allowed`), and the
share of images on which the top class must be the same."""

_BEYOND = (
    "Whether it is accurate enough is for its use to say. Other precisions are judged by gearnn bundle, speed on another board "
    "by gearnn profile there."
)


@dataclass(frozen=True)
class Check:
    """One question to a run: ``passed`` is None if it was not measured; ``needed`` checks decide whether it is ready."""

    question: str
    passed: Optional[bool]
    found: str
    needed: bool = True


def checks(run: Run) -> List[Check]:
    """What a network is asked before it is deployed."""
    gain = [_gain(run)] if run.baseline is not None else []  # that none was trained is told where networks are compared
    return [_agreement(run), _accuracy(run), _budget(run), *gain]


def verdict(found: List[Check]) -> str:
    """Ready only if all that is needed was measured and found good."""
    needed = [check for check in found if check.needed]
    if any(check.passed is False for check in needed):
        return "Not ready"
    return "Ready" if all(check.passed for check in needed) else "Not known"


def readiness(run: Run) -> Html:
    """The verdict with its checks."""
    found = checks(run)
    marks = {True: ("✓", "yes"), False: ("✗", "no"), None: ("?", "unknown")}
    rows = [
        tag(
            "li",
            tag("span", marks[check.passed][0], class_=f"mark {marks[check.passed][1]}", aria_hidden="true"),
            tag("span", tag("b", check.question, ": "), check.found),
        )
        for check in found
    ]
    few = caveat(run, number(run.result.get("clean_accuracy")))
    told, style = {
        "Ready": (f"Ready: {_meant(found)}.", "ready ready-yes"),
        "Not ready": ("Not ready: a check failed.", "ready ready-no"),
        "Not known": ("Not known: a check that decides it was not measured.", "ready"),
    }[verdict(found)]
    return tag(
        "div",
        tag("p", told, class_="verdict"),
        tag("p", few, class_="caveat") if few else None,
        tag("ul", *rows, class_="checks"),
        tag("p", _BEYOND, class_="note"),
        class_=style,
    )


def _meant(found: List[Check]) -> str:
    """What it is to be ready, of what was asked: no praise of the accuracy, which its use alone can judge."""
    parts = ["the FP32 network computes on its engine what it does in torch", "is right more often than guessing"]
    if found[2].passed:
        parts.append("keeps to its budget")
    return f"{', '.join(parts[:-1])} and {parts[-1]}"


def _agreement(run: Run) -> Check:
    compared = mapping(run.part("engine").get("comparison"))
    furthest, same = number(compared.get("max_abs")), number(compared.get("top1_agreement"))
    question = "The engine computes what torch does"
    if furthest is None or same is None:
        return Check(question, None, "not measured")
    allowed = MAX_ABS * max(1.0, (number(compared.get("largest")) or 0.0) / 10)
    told = f"logits differ by {small(furthest)} at most ({small(allowed)} allowed), the top class is the same on {percent(same)}"
    return Check(question, furthest <= allowed and same >= TOP1, told)


def _accuracy(run: Run) -> Check:
    """Better than always naming one class, which a network that learnt nothing does: surely so, not by luck of the images."""
    clean, guess = number(run.result.get("clean_accuracy")), guessing(run)
    known, low = known_to(run, "clean", clean), interval(run, "clean", clean)
    question = "It is right more often than guessing"
    if clean is None or guess is None or low is None:
        return Check(question, None, "not measured")
    told = f"{percent(clean)} of the test images ({known}); {guess[1]}"
    surely = low[0] > guess[0]
    return Check(question, surely, told if surely or clean <= guess[0] else f"{told}, which so few images do not rule out")


def _budget(run: Run) -> Check:
    usages = [mapping(usage) for usage in items(run.part("growth").get("budget"))]
    measured = {
        text(check.get("name")): number(check.get("measured")) for check in map(mapping, items(run.part("growth").get("checks")))
    }
    known, over = 0, []
    for usage in usages:
        name, limit = text(usage.get("name")), number(usage.get("limit"))
        after = measured.get(name)
        after = number(usage.get("after")) if after is None else after
        if limit is not None and after is not None:
            known += 1
            if after > limit:
                unit = text(usage.get("unit"))
                over.append(f"{name} is {quantity(after, unit)}, {quantity(limit, unit)} allowed")
    question = "It keeps to its budget"
    if over:
        return Check(question, False, "; ".join(over))
    if not usages or known < len(usages):
        return Check(question, None, "not measured", needed=bool(run.part("growth")))
    return Check(question, True, f"{count(known)} {'limit' if known == 1 else 'limits'} kept")


def _gain(run: Run) -> Check:
    """For information: a network may be deployed that is no better than its baseline."""
    question = "More robust than the same size trained clean"
    final, base = run.final, run.baseline
    gain = less(final.robust, base.robust) if final is not None and base is not None else None
    if gain is None:
        return Check(question, None, "not measured", needed=False)
    return Check(question, gain > 0, f"{points(gain)} points", needed=False)
