"""Pictures of a table, as SVG that reads well on light and dark pages. matplotlib is imported when the first is drawn."""

from __future__ import annotations

from pathlib import Path
from typing import Any, List, Mapping, Sequence, Tuple

from gearnn.files import write_text

Plain = Mapping[str, Any]
_PAPER, _INK, _GRID = "#f6f6f3", "#26262b", "#d4d4ce"
_COLOURS = ("#0b6fa4", "#c8553d", "#2f8f5b", "#8a5fb0", "#b58900", "#c44a8c", "#3c7d80", "#7a6a58", "#5b6cc9", "#9aa02c")
_MARKERS = "osD^vPX<>h"


def available() -> bool:
    """Whether matplotlib is installed."""
    from importlib.util import find_spec

    return find_spec("matplotlib") is not None


def draw(table: Plain, folder: Path) -> List[str]:
    """Every picture of a table; returns their names."""
    names = []
    for arena in table["arenas"]:
        if not arena["rows"]:
            continue
        for name, plot in (
            ("accuracy-robustness", accuracy_robustness),
            ("robustness-time", robustness_time),
            ("corruptions", per_corruption),
        ):
            file = f"{arena['name']}-{name}.svg"
            plot(arena, folder / file)
            names.append(file)
    return names


def accuracy_robustness(arena: Plain, path: Path) -> None:
    """Robust over clean accuracy, a point per row; bars are one standard deviation over seeds."""
    figure, axes = _figure(8.4, 5.0)
    points = [(row["label"], row["metrics"]["clean"], row["metrics"]["robust"], 100.0) for row in arena["rows"]]
    _scatter(axes, points)
    axes.set_xlabel("clean accuracy, %")
    axes.set_ylabel("robust accuracy, %")
    _finish(figure, axes, f"{arena['arch']} on {arena['data']}: accuracy and robustness", path)


def robustness_time(arena: Plain, path: Path) -> None:
    """Robust accuracy over seconds of training (logarithmic), a point per row; bars are one standard deviation over seeds."""
    figure, axes = _figure(8.4, 5.0)
    points = [(row["label"], row["metrics"]["train_seconds"], row["metrics"]["robust"], 1.0) for row in arena["rows"]]
    axes.set_xscale("log")
    _scatter(axes, points)
    axes.set_xlabel("training time, s")
    axes.set_ylabel("robust accuracy, %")
    _plain_ticks(axes)
    _finish(figure, axes, f"{arena['arch']} on {arena['data']}: robustness and training time", path)


def per_corruption(arena: Plain, path: Path) -> None:
    """Mean accuracy over severities and seeds, rows × corruptions, as a map with its numbers."""
    rows = arena["rows"]
    corruptions = list(rows[0]["corruptions"])
    values = [[_mean(row["corruptions"].get(name)) for name in corruptions] for row in rows]
    figure, axes = _figure(2.6 + 0.62 * len(corruptions), 1.9 + 0.36 * len(rows))
    image = axes.imshow(values, aspect="auto", cmap="cividis")
    middle = (image.norm.vmin + image.norm.vmax) / 2
    for y, line in enumerate(values):
        for x, value in enumerate(line):
            colour = "#ffffff" if value < middle else "#000000"
            axes.text(x, y, "–" if value != value else f"{value:.0f}", ha="center", va="center", fontsize=8, color=colour)
    axes.set_xticks(
        range(len(corruptions)), [name.replace("_", " ") for name in corruptions], rotation=45, ha="right", fontsize=8
    )
    axes.set_yticks(range(len(rows)), [row["label"] for row in rows], fontsize=8)
    axes.grid(False)
    axes.set_title(
        f"{arena['arch']} on {arena['data']}: accuracy by corruption, %, mean over severities", color=_INK, fontsize=11
    )
    _save(figure, path)


def _mean(found: Any) -> float:
    return 100 * found["mean"] if found else float("nan")


def _figure(width: float, height: float) -> Tuple[Any, Any]:
    """A figure on its own solid ground: the page behind it may be light or dark."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), facecolor=_PAPER, layout="constrained")
    axes = figure.add_subplot(facecolor=_PAPER)
    axes.grid(True, color=_GRID, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(colors=_INK)
    for spine in axes.spines.values():
        spine.set_color(_INK)
    for label in (axes.xaxis.label, axes.yaxis.label):
        label.set_color(_INK)
    return figure, axes


def _scatter(axes: Any, points: Sequence[Tuple[str, Plain, Plain, float]]) -> None:
    """Points with error bars: (label, x, y in fractions, factor on x)."""
    for position, (label, x, y, factor) in enumerate(points):
        axes.errorbar(
            factor * x["mean"],
            100 * y["mean"],
            xerr=factor * (x["sd"] or 0.0) or None,
            yerr=100 * (y["sd"] or 0.0) or None,
            fmt=_MARKERS[(position + position // len(_COLOURS)) % len(_MARKERS)],
            color=_COLOURS[position % len(_COLOURS)],
            markersize=7,
            capsize=2.5,
            linewidth=1.2,
            label=label,
        )


def _plain_ticks(axes: Any) -> None:
    """Seconds as 1,000 instead of powers of ten."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}" if value >= 1 else f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())


def _finish(figure: Any, axes: Any, title: str, path: Path) -> None:
    axes.set_title(title, color=_INK, fontsize=11)
    markers, labels = axes.get_legend_handles_labels()
    shown = [marker.lines[0] for marker in markers]  # without their error bars
    axes.legend(shown, labels, loc="center left", bbox_to_anchor=(1.01, 0.5), fontsize=8, frameon=False, labelcolor=_INK)
    _save(figure, path)


def _save(figure: Any, path: Path) -> None:
    """As text with the reader's own fonts, the same bytes for the same figures."""
    import io

    from matplotlib import rc_context

    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "gearnn", "font.family": "sans-serif"}):
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    write_text(path, buffer.getvalue())
