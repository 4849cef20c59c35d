"""Accuracy and loss over the epochs of all phases."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, List, Mapping, Optional, Sequence, Tuple

from gearnn.report.formats import NARROW
from gearnn.report.markup import escape
from gearnn.report.plots import SERIES, Chart, Figure, axis_title, layout, legend
from gearnn.report.record import Run, number, text

_NARROWEST = 290  # pixels between the axes on a phone
_LETTER, _LINE = 6.6, 16  # pixels: a letter's width, a line's height
_LINES = 3  # of phases above a chart, and again of growth

Rows = List[Mapping[str, Any]]


@dataclass(frozen=True)
class Band:
    """The epochs of one phase on the axis of all epochs: (start, end]."""

    phase: str
    start: int
    end: int


def accuracy_curves(run: Run) -> Optional[Chart]:
    """Training and test accuracy over the epochs of all phases; the baseline's, which started anew, dotted."""
    main, baseline = split_metrics(run)
    traces = [
        curve(main, "train_accuracy", "training", "var(--soft)", scale=100),
        curve(main, "test_accuracy", "test", "var(--accent)", width=2.5, scale=100),
        curve(baseline, "test_accuracy", "test, clean-trained baseline", "var(--muted)", dash="dot", scale=100),
    ]
    found = [trace for trace in traces if trace is not None]
    if not found:
        return None
    shown = _phases(run, main)
    shown["yaxis"].update(ticksuffix=f"{NARROW}%", hoverformat=".1f")
    return Chart("accuracy", "Accuracy by epoch", {"data": found, "layout": shown})


def loss_curves(run: Run) -> Optional[Chart]:
    """Training loss over the epochs of all phases."""
    main, _ = split_metrics(run)
    trace = curve(main, "loss", "training loss", "var(--accent)", width=2.5)
    if trace is None:
        return None
    shown = _phases(run, main)
    shown["yaxis"].update(hoverformat=".3f", rangemode="tozero")
    shown.update(showlegend=True)
    return Chart("loss", "Training loss by epoch", {"data": [trace], "layout": shown})


def curves_of_runs(runs: Sequence[Tuple[str, Run]], key: str, title: str, percent: bool) -> Optional[Chart]:
    """One quantity of several named runs over their epochs, the baselines left out."""
    traces = []
    for index, (name, run) in enumerate(runs):
        rows = split_metrics(run)[0]
        traces.append(curve(rows, key, str(escape(name)), SERIES[index % len(SERIES)], scale=100 if percent else 1))
    found = [trace for trace in traces if trace is not None]
    if not found:
        return None
    last = max(len(trace["x"]) for trace in found)
    shown = _over_epochs(last)
    shown["margin"].update(t=8, b=46 + 20 * len(found))
    shown["height"] = 250 + shown["margin"]["b"]
    shown["legend"].update(orientation="v", y=-46 / 250)
    if percent:
        shown["yaxis"].update(ticksuffix=f"{NARROW}%", hoverformat=".1f")
    else:
        shown["yaxis"].update(hoverformat=".3f", rangemode="tozero")
    return Chart(key.replace("_", "-"), title, {"data": found, "layout": {**shown, "showlegend": True}})


def split_metrics(run: Run) -> Tuple[Rows, Rows]:
    """The rows of the network that was grown, and those of the baseline."""
    main = [row for row in run.metrics if row.get("phase") != "baseline"]
    return main, [row for row in run.metrics if row.get("phase") == "baseline"]


def bands(rows: Rows) -> List[Band]:
    """Where each phase lies on the axis of all epochs."""
    found: List[Band] = []
    for index, row in enumerate(rows):
        phase = text(row.get("phase")) or "unnamed"
        if found and found[-1].phase == phase:
            found[-1] = Band(phase, found[-1].start, index + 1)
        else:
            found.append(Band(phase, index, index + 1))
    return found


def growth_marks(run: Run, placed: List[Band]) -> List[int]:
    """Epochs after which the network grew."""
    ends = {band.phase: band.end for band in placed}
    marks, epoch = [], 0
    for phase in run.phases:
        epoch = ends.get(phase.name, epoch)
        if phase.kind == "grow":
            marks.append(epoch)
    return marks if placed else []


def curve(
    rows: Rows, key: str, label: str, colour: str, width: float = 2.0, dash: str = "solid", scale: float = 1.0
) -> Optional[Figure]:
    """A line over the rows of metrics.jsonl; None if no row has the key."""
    values = [None if value is None else scale * value for value in (number(row.get(key)) for row in rows)]
    if all(value is None for value in values):
        return None
    return {
        "type": "scatter",
        "mode": "lines" if len(values) > 12 else "lines+markers",
        "marker": {"size": 5},
        "name": label,
        "x": list(range(1, len(values) + 1)),
        "y": values,
        "line": {"color": colour, "width": width, "dash": dash},
    }


def lines_of(labels: Sequence[Tuple[float, str]], last: float) -> List[Optional[int]]:
    """The line above the chart on which each label, (centre, text), meets no other; None where there is no room at all.

    Args:
        labels: centres on the axis from 0.5 to ``last`` + 0.5, ascending.
    """
    ends = [0.0] * _LINES
    chosen: List[Optional[int]] = []
    for centre, written in labels:
        left, right = _extent(centre, written, last)
        line = next((line for line, end in enumerate(ends) if left >= end), None)
        if line is not None:
            ends[line] = right + _LETTER
        chosen.append(line)
    return chosen


def _extent(centre: float, written: str, last: float) -> Tuple[float, float]:
    """Where a label begins and ends on the narrowest chart, in pixels, kept within it."""
    width = min(_LETTER * len(written), _NARROWEST)
    left = min(max((centre - 0.5) / last * _NARROWEST - width / 2, 0), _NARROWEST - width)
    return left, left + width


def _over_epochs(last: int) -> Figure:
    shown = layout(340)
    shown.update(hovermode="x unified", legend=legend(-0.2))
    shown["margin"].update(t=28, r=16, b=74)
    shown["xaxis"].update(title=axis_title("epoch"), range=[0.5, last + 0.5], hoverformat="d", nticks=8, tickformat="d")
    shown["xaxis"].update(tick0=1, dtick=1 if last <= 8 else None)
    return shown


def _phases(run: Run, rows: Rows) -> Figure:
    """Axes over epochs, phases shaded, and named above where no name meets another; growth marked."""
    last = max(len(rows), len(run.metrics) - len(rows), 1)
    shown, placed = _over_epochs(last), bands(rows)
    shapes: List[Figure] = []
    phases: List[Tuple[float, str]] = []
    for index, band in enumerate(placed):
        left, right = band.start + 0.5, band.end + 0.5
        if index % 2 == 0:
            place: Figure = {"x0": left, "x1": right, "y0": 0, "y1": 1, "yref": "paper", "layer": "below"}
            shapes.append({"type": "rect", **place, "fillcolor": "var(--band)", "line": {"width": 0}})
        phases.append(((left + right) / 2, band.phase))
    growths = [(epoch + 0.5, "growth") for epoch in growth_marks(run, placed)]
    for centre, _ in growths:
        place = {"x0": centre, "x1": centre, "y0": 0, "y1": 1, "yref": "paper"}
        shapes.append({"type": "line", **place, "line": {"color": "var(--warm)", "width": 1.5, "dash": "dash"}})
    notes, height = _labels(phases, last, 0, "var(--muted)")
    above, height = _labels(growths, last, height, "var(--warm)")
    shown.update(shapes=shapes, annotations=[*notes, *above])
    shown["margin"].update(t=10 + _LINE * height)
    shown["height"] = 320 + _LINE * height
    return shown


def _labels(labels: Sequence[Tuple[float, str]], last: int, base: int, colour: str) -> Tuple[List[Figure], int]:
    """Labels from line ``base`` upward, and the first line that is free above them."""
    lines = lines_of(labels, last)
    placed = [(label, line) for label, line in zip(labels, lines) if line is not None]
    notes = [_label(centre, written, base + line, last, colour) for (centre, written), line in placed]
    return notes, base + 1 + max([line for _, line in placed], default=-1)


def _label(centre: float, written: str, line: int, last: int, colour: str) -> Figure:
    place: Figure = {"x": centre, "xanchor": "center"}
    left, right = _extent(centre, written, last)
    if left <= 0:
        place = {"x": 0, "xref": "paper", "xanchor": "left"}
    elif right >= _NARROWEST:
        place = {"x": 1, "xref": "paper", "xanchor": "right"}
    up: Figure = {"y": 1, "yref": "paper", "yanchor": "bottom", "yshift": _LINE * line, "showarrow": False}
    return {**place, **up, "text": str(escape(written)), "font": {"color": colour}, "borderpad": 0}
