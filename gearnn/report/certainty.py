"""How sure an accuracy is: the number of test images, the interval they leave open, and what guessing would give."""

from __future__ import annotations

from dataclasses import dataclass
from typing import List, Optional, Tuple

from gearnn.proportions import FEW, wilson_interval
from gearnn.report.formats import count, percent, spread
from gearnn.report.markup import Html, facts, join, tag
from gearnn.report.record import KINDS, Run, items, mapping, number, text

Interval = Tuple[float, float]


@dataclass(frozen=True)
class ClassScore:
    """What the deployed network made of one class's test images; ``named`` counts the classes it named."""

    name: str
    images: int
    right: int
    named: Tuple[Tuple[str, int], ...]


def class_scores(run: Run) -> List[ClassScore]:
    """Of every class, in order; nothing where the run did not record it, or not of all."""
    found = []
    for entry in map(mapping, items(run.result.get("per_class"))):
        name, images, right = text(entry.get("class")), number(entry.get("images")), number(entry.get("right"))
        if name is None or images is None or right is None or not 0 <= right <= images:
            return []
        named = ((str(other), number(times)) for other, times in mapping(entry.get("named")).items())
        found.append(ClassScore(name, int(images), int(right), tuple((other, int(times)) for other, times in named if times)))
    return found


def images_judged(run: Run) -> Optional[int]:
    """How many images the clean accuracy is of."""
    found = number(run.part("dataset").get("n_test"))
    return int(found) if found is not None and found >= 1 else None


def interval(run: Run, kind: str, accuracy: Optional[float]) -> Optional[Interval]:
    """(low, high), 95 %: of clean accuracy by Wilson, of robust accuracy as the benchmark drew it, image by image."""
    images = images_judged(run)
    if kind == "clean":
        if accuracy is None or images is None or not 0 <= accuracy <= 1:
            return None
        return wilson_interval(accuracy * images, images)
    known = [bound for bound in (run.final.intervals[kind] if run.final else ()) if bound is not None]
    return (known[0], known[1]) if len(known) == 2 else None


def known_to(run: Run, kind: str, accuracy: Optional[float]) -> Optional[str]:
    """ "59 to 82 %, 49 images", as much of it as is known."""
    found, images = interval(run, kind, accuracy), images_judged(run)
    parts = [spread(*found)] if found else []
    if images is not None and accuracy is not None:
        parts.append(of_images(images))
        cells = len(run.final.scores) * len(run.final.severities) if run.final else 0
        parts += [f"{cells} versions each"] if kind == "robust" and cells else []
    return ", ".join(parts) or None


def of_images(number_of: float) -> str:
    """ "1 image", "1,000 images"."""
    return f"{count(number_of)} image{'s' if number_of != 1 else ''}"


def guessing(run: Run) -> Optional[Tuple[float, str]]:
    """The best that guessing could do, and how: naming the commonest class of the test images, or any, where their counts are
    not known."""
    scores = class_scores(run)
    total = sum(score.images for score in scores)
    if total:
        commonest = max(scores, key=lambda score: score.images)
        share = commonest.images / total
        return share, f"always naming {commonest.name} gives {percent(share)}"
    classes = len(items(run.result.get("classes")))
    return (1 / classes, f"guessing among {classes} gives {percent(1 / classes)}") if classes > 1 else None


def caveat(run: Run, accuracy: Optional[float]) -> Optional[str]:
    """One sentence where there are too few test images to rely on."""
    images, found = images_judged(run), interval(run, "clean", accuracy)
    if images is None or images >= FEW or found is None:
        return None
    return (
        f"Judged on {of_images(images)} only: its accuracy on others may be anywhere from "
        f"{spread(*found)}, so judge it on {FEW} or more before you rely on it."
    )


def sureness(run: Run) -> Optional[Html]:
    """The intervals of the final network's accuracies, and how far its confidence is from them."""
    network = run.final
    if network is None:
        return None
    pairs = []
    for kind in KINDS:
        found = interval(run, kind, network.clean if kind == "clean" else network.robust)
        if found is not None:
            pairs.append((f"{kind.capitalize()} accuracy, 95 %", f"{percent(found[0])} to {percent(found[1])}"))
        if network.errors[kind] is not None:
            pairs.append((f"Calibration error (ECE), {kind}", percent(network.errors[kind])))
    if not pairs:
        return None
    note = "The intervals hold what these test images leave open, not what training with another seed would give."
    return join([facts(pairs), tag("p", note, class_="note")])
