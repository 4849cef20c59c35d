"""What the deployed network makes of each class."""

from __future__ import annotations

from typing import List, Optional, Sequence

from gearnn.report.certainty import ClassScore, class_scores
from gearnn.report.charts import Charts
from gearnn.report.formats import count, percent
from gearnn.report.markup import Content, Html, table, tag
from gearnn.report.record import Run
from gearnn.report.sections import figure, section

_SHOWN = 12  # classes; of more, the least accurate are shown and the others folded away


def classes(run: Run, drawn: Charts) -> Html:
    """Accuracy per class on the clean test images, and what else was named."""
    title, scores = "Class by class", class_scores(run)
    if not scores:
        return section(title, None, tag("p", "Not measured: no accuracies per class in result.json.", class_="missing"))
    lead = "What the deployed network named for the clean test images of each class, on its engine."
    if len(scores) <= _SHOWN:
        shown = drawn["confusion"]
        parts: List[Optional[Html]] = [_table(scores), figure(shown, "") if shown is not None else None]
        return section(title, lead, tag("div", *parts, class_="pair uneven") if shown is not None else parts[0])
    worst = sorted(scores, key=lambda score: score.right / score.images if score.images else 2)[:_SHOWN]
    folded = tag("details", tag("summary", f"All {len(scores):,} classes"), _table(scores), class_="spaced")
    return section(title, f"{lead} The {_SHOWN} on which it is right least often:", _table(worst), folded)


def _table(scores: Sequence[ClassScore]) -> Html:
    rows: List[List[Content]] = [
        [
            score.name,
            count(score.images),
            count(score.right),
            percent(score.right / score.images) if score.images else "–",
            _mistaken(score),
        ]
        for score in scores
    ]
    return table(["Class", "Test images", "Right", "Accuracy", "Most often taken for"], rows)


def _mistaken(score: ClassScore) -> str:
    others = [(times, name) for name, times in score.named if name != score.name]
    times, name = max(others, key=lambda other: other[0], default=(0, ""))
    return f"{name} ({count(times)})" if times else "–"
