"""The figures, as plotly's own JSON; colours are names of CSS custom properties, so that one palette serves both schemes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Dict, List, Mapping, Optional, Tuple

from gearnn.report.formats import MINUS, NARROW, count, duration, percent, words
from gearnn.report.markup import escape
from gearnn.report.record import Network, Run, number, text

Figure = Dict[str, Any]


@dataclass(frozen=True)
class Chart:
    """A figure with the id of its place on the page and a sentence that says what it shows."""

    name: str
    title: str
    figure: Figure

    @property
    def height(self) -> int:
        """In CSS pixels."""
        return int(self.figure["layout"]["height"])


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
        _curve(main, "train_accuracy", "training", "var(--soft)", scale=100),
        _curve(main, "test_accuracy", "test", "var(--accent)", width=2.5, scale=100),
        _curve(baseline, "test_accuracy", "test, clean-trained baseline", "var(--muted)", dash="dot", scale=100),
    ]
    found = [trace for trace in traces if trace is not None]
    if not found:
        return None
    layout = _curve_layout(run, main, "top" if _ends_low(main) else "bottom")
    layout["yaxis"].update(ticksuffix=f"{NARROW}%", hoverformat=".1f")
    return Chart("accuracy", "Accuracy by epoch", {"data": found, "layout": layout})


def loss_curves(run: Run) -> Optional[Chart]:
    """Training loss over the epochs of all phases."""
    main, _ = split_metrics(run)
    trace = _curve(main, "loss", "training loss", "var(--accent)", width=2.5)
    if trace is None:
        return None
    layout = _curve_layout(run, main, "top")
    layout["yaxis"].update(hoverformat=".3f", rangemode="tozero")
    layout.update(showlegend=True)
    return Chart("loss", "Training loss by epoch", {"data": [trace], "layout": layout})


def width_bars(run: Run) -> Optional[Chart]:
    """Seed and grown width of each layer, from input to output."""
    layers = [layer for layer in run.layers if layer.before is not None and layer.after is not None]
    if not layers:
        return None
    names = [str(escape(layer.name)) for layer in layers]
    hovers = []
    for name, layer in zip(names, layers):
        parts = [("split", layer.split), ("new", layer.new)]
        made = " · ".join(f"{count(value)} {label}" for label, value in parts if value is not None)
        costs = [f"+{count(number(cost))} {escape(label)}" for label, cost in layer.cost.items() if number(cost)]
        scored = [f"score {layer.score:.3g}"] if layer.score else []
        lines = [f"<b>{name}</b>", f"{count(layer.before)} → {count(layer.after)}", made, " · ".join([*scored, *costs])]
        hovers.append("<br>".join(line for line in lines if line))
    common = {
        "type": "bar",
        "orientation": "h",
        "y": names,
        "customdata": hovers,
        "hovertemplate": "%{customdata}<extra></extra>",
    }
    label = {"textposition": "outside", "cliponaxis": False, "texttemplate": "%{x:,}"}
    data = [
        {**common, **label, "name": "seed", "x": [layer.before for layer in layers], "marker": {"color": "var(--soft)"}},
        {**common, **label, "name": "grown", "x": [layer.after for layer in layers], "marker": {"color": "var(--accent)"}},
    ]
    layout = _layout(90 + 34 * len(layers))
    layout.update(barmode="group", bargap=0.32, bargroupgap=0.05, hovermode="closest", legend=_legend())
    layout["xaxis"].update(rangemode="tozero", tickformat=",", showgrid=True, nticks=6)
    layout["yaxis"].update(type="category", autorange="reversed", showgrid=False)
    return Chart("widths", "Width of each layer before and after growth", {"data": data, "layout": layout})


def corruption_map(network: Optional[Network]) -> Optional[Chart]:
    """Accuracy per corruption and severity, with means."""
    grid = _grid(network)
    if network is None or grid is None:
        return None
    rows = _with_means(grid)
    known = [value for row in rows for value in row if value is not None]
    low = min([*known, 0.9])
    heat = {
        "z": rows,
        "text": [["" if value is None else f"{100 * value:.1f}" for value in row] for row in rows],
        "customdata": [[percent(value) for value in row] for row in rows],
        "colorscale": [[0.0, "var(--scale-low)"], [1.0, "var(--scale-high)"]],
        "zmin": int(low * 10) / 10,
        "zmax": 1.0,
    }
    return Chart("corruptions", "Accuracy per corruption and severity, in percent", _heat_figure(network, heat))


def difference_map(network: Optional[Network], baseline: Optional[Network]) -> Optional[Chart]:
    """Accuracy of one network minus another's per corruption and severity, with means, in points."""
    ours, theirs = _grid(network), _grid(baseline)
    if network is None or baseline is None or ours is None or theirs is None:
        return None
    if list(network.scores) != list(baseline.scores) or network.severities != baseline.severities:
        return None
    pairs = zip(_with_means(ours), _with_means(theirs))
    rows = [[None if a is None or b is None else 100 * (a - b) for a, b in zip(left, right)] for left, right in pairs]
    span = max([abs(value) for row in rows for value in row if value is not None] + [5.0])
    signed = [["" if value is None else f"{value:+.1f}".replace("-", MINUS) for value in row] for row in rows]
    heat = {
        "z": rows,
        "text": signed,
        "customdata": [[f"{cell} points" for cell in row] for row in signed],
        "colorscale": [[0.0, "var(--loss)"], [0.5, "var(--even)"], [1.0, "var(--gain)"]],
        "zmin": -span,
        "zmax": span,
    }
    return Chart("difference", "Difference to the clean-trained baseline, in points", _heat_figure(network, heat))


def phase_times(run: Run) -> Optional[Chart]:
    """Wall-clock time of each phase."""
    phases = [phase for phase in run.phases if phase.seconds is not None]
    if not phases:
        return None
    names = [str(escape(phase.name)) for phase in phases]
    bar = {
        "type": "bar",
        "orientation": "h",
        "y": names,
        "x": [phase.seconds for phase in phases],
        "text": [duration(phase.seconds) for phase in phases],
        "textposition": "outside",
        "cliponaxis": False,
        "hovertemplate": "<b>%{y}</b><br>%{text}<extra></extra>",
        "marker": {"color": ["var(--warm)" if phase.kind == "grow" else "var(--accent)" for phase in phases]},
    }
    layout = _layout(30 + 40 * len(phases))
    layout.update(bargap=0.4, hovermode="closest")
    layout["margin"].update(t=0, r=90, b=10)
    layout["xaxis"].update(visible=False, rangemode="tozero")
    layout["yaxis"].update(type="category", autorange="reversed", showgrid=False)
    return Chart("time", "Time per phase", {"data": [bar], "layout": layout})


def split_metrics(run: Run) -> Tuple[List[Mapping[str, Any]], List[Mapping[str, Any]]]:
    """The rows of the network that was grown, and those of the baseline."""
    main = [row for row in run.metrics if row.get("phase") != "baseline"]
    return main, [row for row in run.metrics if row.get("phase") == "baseline"]


def bands(rows: List[Mapping[str, Any]]) -> List[Band]:
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


def _curve(
    rows: List[Mapping[str, Any]],
    key: str,
    label: str,
    colour: str,
    width: float = 2.0,
    dash: str = "solid",
    scale: float = 1.0,
) -> Optional[Figure]:
    values = [None if value is None else scale * value for value in (number(row.get(key)) for row in rows)]
    if all(value is None for value in values):
        return None
    return {
        "type": "scatter",
        "mode": "lines" if len(values) > 3 else "lines+markers",
        "name": label,
        "x": list(range(1, len(values) + 1)),
        "y": values,
        "line": {"color": colour, "width": width, "dash": dash},
    }


def _ends_low(rows: List[Mapping[str, Any]]) -> bool:
    """Whether accuracy stays in the lower half, where labels at the bottom would lie on it."""
    values = [value for value in (number(row.get("test_accuracy")) for row in rows) if value is not None]
    return bool(values) and max(values) < 0.5


def _curve_layout(run: Run, rows: List[Mapping[str, Any]], edge: str) -> Figure:
    """Axes over epochs, phases shaded and named above, growth marked; names of short phases stand upright at ``edge``."""
    layout, placed = _layout(340), bands(rows)
    shapes: List[Figure] = []
    notes: List[Figure] = []
    upright: Figure = {"y": 1 if edge == "top" else 0, "yanchor": edge, "textangle": -90, "yref": "paper", "showarrow": False}
    for index, band in enumerate(placed):
        left, right = band.start + 0.5, band.end + 0.5
        if index % 2 == 0:
            place: Figure = {"x0": left, "x1": right, "y0": 0, "y1": 1, "yref": "paper", "layer": "below"}
            shapes.append({"type": "rect", **place, "fillcolor": "var(--band)", "line": {"width": 0}})
        above: Figure = {"y": 1, "yanchor": "bottom", "yref": "paper", "showarrow": False}
        spot = above if right - left > 0.15 * len(rows) else upright
        notes.append({"x": (left + right) / 2, **spot, "text": str(escape(band.phase)), "font": {"color": "var(--muted)"}})
    for epoch in growth_marks(run, placed):
        place = {"x0": epoch + 0.5, "x1": epoch + 0.5, "y0": 0, "y1": 1, "yref": "paper"}
        shapes.append({"type": "line", **place, "line": {"color": "var(--warm)", "width": 1.5, "dash": "dash"}})
        notes.append({"x": epoch + 0.5, **upright, "xanchor": "right", "text": "growth", "font": {"color": "var(--warm)"}})
    layout.update(shapes=shapes, annotations=notes, hovermode="x unified", legend=_legend(-0.16))
    layout["margin"].update(t=28, r=16, b=70)
    last = max(len(rows), len(run.metrics) - len(rows), 1)
    layout["xaxis"].update(title=_axis_title("epoch"), range=[0.5, last + 0.5], hoverformat="d", nticks=8)
    return layout


def _grid(network: Optional[Network]) -> Optional[List[List[Optional[float]]]]:
    """Accuracies, a row per corruption; None if there are none or the rows do not fit the severities."""
    if network is None or not network.scores or not network.severities:
        return None
    if any(len(row) != len(network.severities) for row in network.scores.values()):
        return None
    return [list(row) for row in network.scores.values()]


def _with_means(grid: List[List[Optional[float]]]) -> List[List[Optional[float]]]:
    rows = [[*row, _mean(row)] for row in grid]
    return [*rows, [_mean(list(column)) for column in zip(*rows)]]


def _mean(values: List[Optional[float]]) -> Optional[float]:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known and len(known) == len(values) else None


def _heat_figure(network: Network, heat: Figure) -> Figure:
    names = [*(str(escape(words(name))) for name in network.scores), "mean"]
    columns = [*(str(escape(severity)) for severity in network.severities), "mean"]
    heat = {
        "type": "heatmap",
        "x": columns,
        "y": names,
        "showscale": False,
        "xgap": 2,
        "ygap": 2,
        "texttemplate": "%{text}",
        "textfont": {"size": 11, "color": "var(--ink)"},
        "hoverongaps": False,
        "hovertemplate": "%{y}, severity %{x}: %{customdata}<extra></extra>",
        **heat,
    }
    # Lines in the page's colour set the means apart from what they are means of.
    rule = {"type": "line", "line": {"color": "var(--surface)", "width": 6}}
    down = {**rule, "x0": len(columns) - 1.5, "x1": len(columns) - 1.5, "y0": 0, "y1": 1, "yref": "paper"}
    across = {**rule, "y0": len(names) - 1.5, "y1": len(names) - 1.5, "x0": 0, "x1": 1, "xref": "paper"}
    layout = _layout(70 + 27 * len(names))
    layout.update(hovermode="closest", shapes=[down, across])
    layout["margin"].update(t=44, b=4, r=4)
    layout["xaxis"].update(type="category", side="top", title=_axis_title("severity"), showgrid=False)
    layout["yaxis"].update(type="category", autorange="reversed", showgrid=False)
    return {"data": [heat], "layout": layout}


def _layout(height: int) -> Figure:
    axis = {"gridcolor": "var(--rule)", "zeroline": False, "automargin": True, "fixedrange": True, "ticks": ""}
    return {
        "height": height,
        "autosize": True,
        "dragmode": False,
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"family": "system-ui, -apple-system, Segoe UI, Roboto, sans-serif", "size": 12, "color": "var(--ink)"},
        "hoverlabel": {"bgcolor": "var(--raised)", "bordercolor": "var(--rule)", "font": {"color": "var(--ink)"}},
        "margin": {"l": 8, "r": 40, "t": 8, "b": 24, "pad": 6},
        "xaxis": {**axis, "showgrid": False},
        "yaxis": dict(axis),
    }


def _legend(y: float = 1.0) -> Figure:
    """Above the plot, or below it for a negative ``y``."""
    return {"orientation": "h", "x": 0, "xanchor": "left", "y": y, "yanchor": "bottom" if y >= 1 else "top"}


def _axis_title(written: str) -> Figure:
    return {"text": written, "standoff": 6, "font": {"size": 12, "color": "var(--muted)"}}
