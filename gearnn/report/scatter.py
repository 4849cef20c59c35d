"""What accuracy costs: each network's accuracies against its latency and its size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import List, Optional, Sequence, Tuple

from gearnn.report.formats import NARROW, count, milliseconds, percent, size
from gearnn.report.markup import escape
from gearnn.report.plots import SERIES, Chart, Figure, axis_title, layout, legend

SYMBOLS = ("circle", "square", "diamond", "triangle-up", "pentagon", "hexagon2", "star", "triangle-down")


@dataclass(frozen=True)
class Point:
    """A network: accuracies as fractions, median latency for one image in ms, size of its file in bytes."""

    label: str
    clean: Optional[float]
    robust: Optional[float]
    latency: Optional[float]
    bytes: Optional[float]
    params: Optional[float] = None


def front(costs: Sequence[Optional[float]], gains: Sequence[Optional[float]]) -> List[int]:
    """Places of those that no other beats or equals in both (Pareto front), by rising cost.

    Of equals the first stays; where either is not known there is no place.
    """
    known = [
        (cost, -gain, place) for place, (cost, gain) in enumerate(zip(costs, gains)) if cost is not None and gain is not None
    ]
    chosen: List[int] = []
    best: Optional[float] = None
    for _, loss, place in sorted(known):
        if best is None or loss < best:
            best = loss
            chosen.append(place)
    return chosen


def trade_off(points: Sequence[Point]) -> Tuple[Optional[Chart], Optional[Chart]]:
    """Charts over latency and over size, None where no network has both a cost and an accuracy."""
    by_latency = _chart("latency", "Accuracy against latency", "median latency for one image, ms", points, "latency", 1.0)
    by_size = _chart("size", "Accuracy against size", "network file, MB", points, "bytes", 1e-6)
    return by_latency, by_size


def _chart(name: str, title: str, axis: str, points: Sequence[Point], cost: str, unit: float) -> Optional[Chart]:
    costs = [None if getattr(point, cost) is None else getattr(point, cost) * unit for point in points]
    placed = [
        place for place, point in enumerate(points) if costs[place] is not None and (point.clean, point.robust) != (None, None)
    ]
    if not placed:
        return None
    chosen = front(costs, [point.robust for point in points])
    data: List[Figure] = [
        {
            "type": "scatter",
            "mode": "lines",
            "name": "best robust accuracy for its cost",
            "x": [costs[place] for place in chosen],
            "y": [_percentage(points[place].robust) for place in chosen],
            "line": {"color": "var(--soft)", "width": 1.5, "dash": "dot", "shape": "hv"},
            "hoverinfo": "skip",
            "showlegend": len(chosen) > 1,
        }
    ]
    data += [_mark(points[place], costs[place], place) for place in placed]
    below = 52 + 19 * (len(placed) + (len(chosen) > 1))
    shown = layout(270 + below)
    shown.update(hovermode="closest", showlegend=True, legend={**legend(-52 / 262), "orientation": "v", "traceorder": "normal"})
    shown["margin"].update(r=16, b=below)
    shown["xaxis"].update(title=axis_title(axis), rangemode="tozero", showgrid=True, nticks=6)
    shown["yaxis"].update(ticksuffix=f"{NARROW}%", nticks=6, range=_range(points))
    missing = [point.label for place, point in enumerate(points) if place not in placed]
    note = f"Not measured for: {'; '.join(missing)}." if missing else None
    return Chart(f"trade-{name}", title, {"data": data, "layout": shown}, note)


def _mark(point: Point, cost: Optional[float], place: int) -> Figure:
    """Robust accuracy filled, clean accuracy hollow, one above the other."""
    colour, symbol = SERIES[place % len(SERIES)], SYMBOLS[place % len(SYMBOLS)]
    facts = [
        f"<b>{escape(point.label)}</b>",
        f"clean {percent(point.clean)}, robust {percent(point.robust)}",
        f"{milliseconds(point.latency)}, {size(point.bytes)}",
        f"{count(point.params)} parameters",
    ]
    return {
        "type": "scatter",
        "mode": "markers",
        "cliponaxis": False,
        "name": str(escape(point.label)),
        "x": [cost, cost],
        "y": [_percentage(point.robust), _percentage(point.clean)],
        "marker": {"size": 11, "symbol": [symbol, f"{symbol}-open"], "color": colour, "line": {"width": 2, "color": colour}},
        "hovertemplate": "<br>".join(facts) + "<extra></extra>",
    }


def _range(points: Sequence[Point]) -> List[float]:
    """Of the accuracies of all points, so that charts beside each other compare."""
    known = [100 * value for point in points for value in (point.clean, point.robust) if value is not None]
    room = 0.08 * (max(known) - min(known)) + 1
    return [min(known) - room, max(known) + room]


def _percentage(fraction: Optional[float]) -> Optional[float]:
    return None if fraction is None else 100 * fraction
