"""What growth was allowed, what bound it, and what it made of the network."""

from __future__ import annotations

from typing import Any, List, Mapping, Optional, Tuple

from gearnn.report.charts import Charts
from gearnn.report.formats import count, decimal, duration, percent, quantity, small
from gearnn.report.growth_steps import steps
from gearnn.report.markup import Content, Html, facts, table, tag
from gearnn.report.record import Run, items, mapping, number, text
from gearnn.report.sections import figure, section


def growth(run: Run, drawn: Charts) -> Html:
    """The budget and what bound it, the network before and after, and each layer's growth."""
    record = run.part("growth")
    bound = text(record.get("bound_by"))
    usages = [mapping(usage) for usage in items(record.get("budget"))]
    details: List[Tuple[Content, Content]] = [("Grower", text(record.get("grower"))), ("Bound by", bound_by(bound))]
    details += [_check(mapping(check)) for check in items(record.get("checks"))]
    changed = number(record.get("output_difference"))
    details += [("Outputs right after growth", f"changed by {small(changed)} of the largest")] if changed is not None else []
    limit = number(run.part("time_plan").get("limit"))
    details += [("Time limit of the run", duration(limit))] if limit is not None else []
    details += [(f"Channels of {layer} left as they were", str(reason)) for layer, reason in mapping(record.get("fixed")).items()]
    gauges = [gauge for gauge in (_gauge(usage, bound) for usage in usages) if gauge is not None]
    missing = tag("p", "Not measured: how much of the budget was used is not in result.json.", class_="missing")
    return section(
        "Growth",
        "Where the budget let the network grow. Each bar is a layer, as tall as it has channels; hover or tap for its figures.",
        tag("div", *gauges, class_="gauges") if gauges else missing,
        facts(details),
        figure(drawn["widths"], "no widths in result.json"),
        _table(run),
        steps(record),
    )


def bound_by(bound: Optional[str]) -> Optional[str]:
    """What ended growth, in words."""
    ends = {
        "candidates": "the candidates: all were taken before the budget was used up",
        "gain": "the gain on held-out images: the last step did not pay and was taken back",
    }
    return ends.get(bound, f"the budget of {bound}") if bound else None


def _gauge(usage: Mapping[str, Any], bound: Optional[str]) -> Optional[Html]:
    """One limit of the budget as a bar: what the seed network took, what growth added, what is left."""
    before, after, limit = (number(usage.get(key)) for key in ("before", "after", "limit"))
    unit, name = text(usage.get("unit")), text(usage.get("name")) or "unnamed"
    if after is None or not limit or limit < 0:
        return None
    filled, seed = (max(0.0, min(1.0, (part or 0) / limit)) for part in (after, before))
    bar = tag(
        "div",
        tag("i", style=f"width:{100 * filled:.1f}%"),
        tag("b", style=f"width:{100 * min(seed, filled):.1f}%"),
        class_="bar",
    )
    told = f"{quantity(before, unit)} → {quantity(after, unit)} of {quantity(limit, unit)} ({percent(after / limit)})"
    chip = tag("span", "bound growth", class_="chip warm") if name == bound else None
    return tag(
        "div",
        tag("p", tag("span", "Budget of ", name, " ", chip), tag("span", told), class_="told"),
        bar,
        class_="gauge bound" if name == bound else "gauge",
    )


def _check(check: Mapping[str, Any]) -> Tuple[Content, Content]:
    """What was predicted for the grown network, and what was then measured."""
    predicted, measured = number(check.get("predicted")), number(check.get("measured"))
    unit = text(check.get("unit"))
    shown = f"predicted {quantity(predicted, unit)}, measured {quantity(measured, unit) if measured is not None else 'missing'}"
    return f"Check of {text(check.get('name'))}", shown


def _table(run: Run) -> Optional[Html]:
    """Every layer in figures, folded away."""
    if not run.layers:
        return None
    rows = [
        [
            layer.name,
            *(count(value) for value in (layer.before, layer.after)),
            *(count(value) if value is not None else "–" for value in (layer.split, layer.new)),
            decimal(layer.after / layer.before, 1) if layer.before and layer.after is not None else None,
        ]
        for layer in run.layers
    ]
    head = ["Layer", "Before", "After", "Split", "New", "Times"]
    return tag("details", tag("summary", f"All {len(rows)} layers in figures"), table(head, rows))
