"""Accuracy per corruption as heat maps."""

from __future__ import annotations

from typing import List, Optional, Sequence, Tuple

from gearnn.report.certainty import ClassScore
from gearnn.report.formats import less, percent, points, words
from gearnn.report.markup import escape
from gearnn.report.plots import Chart, Figure, axis_title, layout, shortened
from gearnn.report.record import Network

_MOST_CLASSES = 12  # in a map: a column is still wide enough on a phone

Grid = List[List[Optional[float]]]


def corruption_map(network: Optional[Network]) -> Optional[Chart]:
    """Accuracy per corruption and severity, with means."""
    grid = _grid(network)
    if network is None or grid is None:
        return None
    rows = _with_means(grid)
    title = "Accuracy per corruption and severity, in percent"
    columns = [*network.severities, "mean"]
    figure = _figure([*map(words, network.scores), "mean"], columns, "severity", _accuracies(rows))
    return Chart("corruptions", title, figure)


def difference_map(network: Optional[Network], baseline: Optional[Network]) -> Optional[Chart]:
    """Accuracy of one network minus another's per corruption and severity, with means, in points."""
    ours, theirs = _grid(network), _grid(baseline)
    if network is None or baseline is None or ours is None or theirs is None:
        return None
    if list(network.scores) != list(baseline.scores) or network.severities != baseline.severities:
        return None
    pairs = zip(_with_means(ours), _with_means(theirs))
    rows = [[less(a, b) for a, b in zip(left, right)] for left, right in pairs]
    span = max([abs(value) for row in rows for value in row if value is not None] + [0.05])
    signed = [["" if value is None else points(value) for value in row] for row in rows]
    heat: Figure = {
        "z": [[None if value is None else 100 * value for value in row] for row in rows],
        "text": signed,
        "customdata": [[f"{cell} points" for cell in row] for row in signed],
        "colorscale": [[0.0, "var(--loss)"], [0.5, "var(--even)"], [1.0, "var(--gain)"]],
        "zmin": -100 * span,
        "zmax": 100 * span,
    }
    title = "Difference to the clean-trained baseline, in points"
    figure = _figure([*map(words, network.scores), "mean"], [*network.severities, "mean"], "severity", heat)
    return Chart("difference", title, figure)


def side_by_side(networks: Sequence[Tuple[str, Optional[Network]]]) -> Optional[Chart]:
    """Accuracy per corruption, mean over the severities, of several named networks; a column is empty where there is none."""
    grids = {name: _grid(network) for name, network in networks}
    scores = [
        {} if network is None or grids[name] is None else {key: _mean(list(row)) for key, row in network.scores.items()}
        for name, network in networks
    ]
    corruptions = list(dict.fromkeys(key for row in scores for key in row))
    if not corruptions:
        return None
    rows: Grid = [[row.get(key) for row in scores] for key in corruptions]
    rows.append([_mean(list(row.values())) if row else None for row in scores])
    figure = _figure(
        [*map(words, corruptions), "mean"], [shortened(name, 18) for name, _ in networks], None, _accuracies(rows), means=False
    )
    return Chart("corruptions", "Accuracy per corruption, mean over the severities, in percent", figure)


def confusion_map(scores: Sequence[ClassScore]) -> Optional[Chart]:
    """How often each class was named for the images of each, in images: right ones in one colour, wrong ones in another."""
    names = [score.name for score in scores]
    if not 1 < len(names) <= _MOST_CLASSES or len(set(names)) < len(names):
        return None
    counts = [[dict(score.named).get(name, 0) for name in names] for score in scores]
    signs = [[1 if row == column else -1 for column in range(len(names))] for row in range(len(names))]
    heat: Figure = {
        "z": [
            [sign * cell / max(1, score.images) for sign, cell in zip(line, row)]
            for score, line, row in zip(scores, signs, counts)
        ],
        "text": [[str(cell) if cell else "" for cell in row] for row in counts],
        "customdata": [[f"{cell:,} of {score.images:,} images" for cell in row] for score, row in zip(scores, counts)],
        "colorscale": [[0.0, "var(--loss)"], [0.5, "var(--even)"], [1.0, "var(--gain)"]],
        "zmin": -1,
        "zmax": 1,
    }
    written = [shortened(name, 14) for name in names]
    figure = _figure(written, written, "named", heat, means=False, totals=False)
    return Chart("confusion", "What was named (columns) for the images of each class (rows)", figure)


def _accuracies(rows: Grid) -> Figure:
    known = [value for row in rows for value in row if value is not None]
    return {
        "z": rows,
        "text": [["" if value is None else f"{100 * value:.1f}" for value in row] for row in rows],
        "customdata": [[percent(value) for value in row] for row in rows],
        "colorscale": [[0.0, "var(--scale-low)"], [1.0, "var(--scale-high)"]],
        "zmin": int(min([*known, 0.9]) * 10) / 10,
        "zmax": min(1.0, -(-max([*known, 0.0]) * 10 // 1) / 10) if known else 1.0,
    }


def _grid(network: Optional[Network]) -> Optional[Grid]:
    """Accuracies, a row per corruption; None if there are none or the rows do not fit the severities."""
    if network is None or not network.scores or not network.severities:
        return None
    if any(len(row) != len(network.severities) for row in network.scores.values()):
        return None
    return [list(row) for row in network.scores.values()]


def _with_means(grid: Grid) -> Grid:
    rows = [[*row, _mean(row)] for row in grid]
    return [*rows, [_mean(list(column)) for column in zip(*rows)]]


def _mean(values: List[Optional[float]]) -> Optional[float]:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known and len(known) == len(values) else None


def _figure(
    rows: Sequence[str], columns: Sequence[str], across: Optional[str], heat: Figure, means: bool = True, totals: bool = True
) -> Figure:
    """Cells with their values; rows and columns are told apart by their place, as names may be equal.

    Args:
        means, totals: whether the last column, and the last row, holds means, which a rule then sets apart.
    """
    shown = {
        "type": "heatmap",
        "showscale": False,
        "xgap": 2,
        "ygap": 2,
        "texttemplate": "%{text}",
        "textfont": {"size": 11, "color": "var(--ink)"},
        "hoverongaps": False,
        "hovertemplate": "%{customdata}<extra></extra>",
        **heat,
        "customdata": [
            [
                f"{escape(row)}, {escape(f'{across} ' if across else '')}{escape(column)}: {cell}"
                for column, cell in zip(columns, cells)
            ]
            for row, cells in zip(rows, heat["customdata"])
        ],
    }
    # Lines in the page's colour set the means apart from what they are means of.
    rule = {"type": "line", "line": {"color": "var(--surface)", "width": 6}}
    lines: List[Figure] = []
    if totals:
        lines.append({**rule, "y0": len(rows) - 1.5, "y1": len(rows) - 1.5, "x0": 0, "x1": 1, "xref": "paper"})
    if means:
        lines.append({**rule, "x0": len(columns) - 1.5, "x1": len(columns) - 1.5, "y0": 0, "y1": 1, "yref": "paper"})
    figure = layout(70 + 27 * len(rows))
    figure.update(hovermode="closest", shapes=lines)
    figure["margin"].update(t=44, b=4, r=4)
    figure["xaxis"].update(side="top", showgrid=False, **_ticks(columns))
    figure["yaxis"].update(autorange="reversed", showgrid=False, **_ticks(rows))
    if across:
        figure["xaxis"].update(title=axis_title(across))
    return {"data": [shown], "layout": figure}


def _ticks(names: Sequence[str]) -> Figure:
    return {"tickmode": "array", "tickvals": list(range(len(names))), "ticktext": [str(escape(name)) for name in names]}
