"""Growth in several steps: what each was allowed, what it gained, and whether it was kept."""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, Optional

from gearnn.report.formats import count, decimal, less, percent, points, quantity
from gearnn.report.markup import Content, Html, join, table, tag
from gearnn.report.record import items, mapping, number, text

Step = Mapping[str, Any]


def steps(record: Step) -> Optional[Html]:
    """The steps of a record of growth, one a row; nothing for a single one that was not judged."""
    found = [mapping(step) for step in items(record.get("steps"))] or [record]
    judged = any("pays" in step for step in found)
    if len(found) == 1 and not judged and "ended" not in found[0]:
        return None
    head = ["Step", "Outcome", "Fullest budget", "Channels before", "Channels after"]
    if judged:
        head += ["Held out before", "Held out after", "Gain", "Gain per doubling"]
    rows = [[str(place), *_told(step), *(_judgement(step) if judged else [])] for place, step in enumerate(found, 1)]
    told = (
        "Held-out accuracy is on training images that were not trained on; gains are in percentage points, and per doubling of "
        "what the step took of its fullest budget."
    )
    ends = [(place, text(step.get("ended"))) for place, step in enumerate(found, 1)]
    return join(
        [
            tag("h3", "Step by step"),
            tag("p", told, class_="lead") if judged else None,
            table(head, rows, text_columns=3),
            *(tag("p", f"After step {place} growth ended: {end}", class_="note") for place, end in ends if end),
            tag("details", tag("summary", "Every layer's channels after each step"), _widths(found)),
        ]
    )


def _told(step: Step) -> List[Content]:
    """Outcome, fullest budget, channels before and after."""
    sums = []
    for key in ("before", "after"):
        widths = [number(mapping(layer).get(key)) for layer in items(step.get("layers"))]
        sums.append(count(sum(width or 0 for width in widths)) if widths else None)
    return [tag("span", "taken back", class_="loss") if step.get("pays") is False else "kept", _fullest(step), *sums]


def _fullest(step: Step) -> Optional[str]:
    """The budget of which the step left the smallest share."""
    shares = []
    for usage in map(mapping, items(step.get("budget"))):
        after, limit = number(usage.get("after")), number(usage.get("limit"))
        if after is not None and limit is not None and limit > 0:
            unit = text(usage.get("unit"))
            shares.append((after / limit, f"{text(usage.get('name'))}: {quantity(after, unit)} of {quantity(limit, unit)}"))
    return max(shares)[1] if shares else None


def _judgement(step: Step) -> List[Content]:
    """Held-out accuracy before and after, what was gained, and that per doubling of the cost."""
    before, after = number(step.get("held_out_before")), number(step.get("held_out_after"))
    return [percent(before), percent(after), points(less(after, before)), decimal(number(step.get("gain_per_doubling")), 1)]


def _widths(found: List[Step]) -> Html:
    """Layers, before growth and after each step."""
    columns: List[Dict[Optional[str], Optional[str]]] = []
    for step, key in ((found[0], "before"), *((step, "after") for step in found)):
        layers = map(mapping, items(step.get("layers")))
        columns.append({text(layer.get("name")): count(number(layer.get(key))) for layer in layers})
    head = ["Layer", "Seed", *(f"Step {place}" for place in range(1, len(found) + 1))]
    return table(head, [[name, *(column.get(name) for column in columns)] for name in columns[0]])
