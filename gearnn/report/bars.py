"""The network before and after growth, and what phases and layers take, as bars."""

from __future__ import annotations

from typing import List, Optional, Sequence

from gearnn.report.formats import count, duration, joules, milliseconds, percent
from gearnn.report.markup import escape
from gearnn.report.plots import Chart, Figure, axis_title, layout, legend, shortened
from gearnn.report.record import Layer, LayerTime, Run, number

_MOST_LAYERS = 16  # timed ones that have a bar of their own


def network_drawing(run: Run) -> Optional[Chart]:
    """The network from input to output, each layer as tall as it is wide: above before growth, below after it."""
    layers = [layer for layer in run.layers if layer.before is not None and layer.after is not None]
    if not layers:
        return None
    places = list(range(1, len(layers) + 1))
    hovers = [_story(layer) for layer in layers]
    widest = max([max(layer.before or 0, layer.after or 0) for layer in layers] + [1])

    def bars(name: str, widths: Sequence[float], colour: str, axis: str, shown: bool = True) -> Figure:
        return {
            "type": "bar",
            "name": name,
            "x": places,
            "y": list(widths),
            "base": [-width / 2 for width in widths],
            "yaxis": axis,
            "customdata": hovers,
            "hovertemplate": "%{customdata}<extra></extra>",
            "marker": {"color": colour, "line": {"width": 0}},
            "showlegend": shown,
        }

    before, after = [layer.before or 0 for layer in layers], [layer.after or 0 for layer in layers]
    data = [
        bars("there before", before, "var(--soft)", "y"),
        bars("grown", after, "var(--accent)", "y2"),
        bars("there before", [min(pair) for pair in zip(before, after)], "var(--soft)", "y2", shown=False),
    ]
    figure = layout(440)
    figure.update(barmode="overlay", bargap=0.18, hovermode="closest", legend=legend(-0.12))
    figure["margin"].update(t=26, b=64, r=8)
    axis = {**figure["yaxis"], "range": [-0.55 * widest, 0.55 * widest], "showgrid": False, "showticklabels": False}
    figure["yaxis"] = {**axis, "domain": [0.54, 1]}
    figure["yaxis2"] = {**axis, "domain": [0, 0.46], "anchor": "x"}
    step = max(1, -(-len(layers) // 8))
    ticks = list(range(1, len(layers) + 1, step))
    figure["xaxis"].update(anchor="y2")
    figure["xaxis"].update(tickvals=ticks, title=axis_title("layer, from input to output"), range=[0.4, len(layers) + 0.6])
    figure["annotations"] = [
        _heading(f"before: {_widths(before)}", 1),
        _heading(f"after: {_widths(after)}", 0.46),
    ]
    return Chart("widths", "The network before and after growth", {"data": data, "layout": figure})


def _widths(widths: Sequence[float]) -> str:
    return f"{count(sum(widths))} channels in {len(widths)} layers"


def _heading(written: str, y: float) -> Figure:
    place = {"x": 0, "xref": "paper", "xanchor": "left", "y": y, "yref": "paper", "yanchor": "bottom", "showarrow": False}
    return {**place, "text": written, "font": {"color": "var(--muted)"}}


def _story(layer: Layer) -> str:
    """What a layer's growth consists of, for its bar."""
    parts = [("split", layer.split), ("new", layer.new)]
    made = " · ".join(f"{count(value)} {label}" for label, value in parts if value is not None)
    costs = [f"+{count(number(cost))} {escape(label)}" for label, cost in layer.cost.items() if number(cost)]
    scored = [f"score {layer.score:.3g}"] if layer.score else []
    widths = f"{count(layer.before)} → {count(layer.after)}"
    lines = [f"<b>{escape(layer.name)}</b>", widths, made, " · ".join([*scored, *costs])]
    return "<br>".join(line for line in lines if line)


def phase_times(run: Run) -> Optional[Chart]:
    """Wall-clock time of each phase."""
    return _per_phase(run, "time", "Time per phase", [phase.seconds for phase in run.phases], duration)


def phase_energies(run: Run) -> Optional[Chart]:
    """Energy of each phase that a power meter followed."""
    return _per_phase(run, "energy", "Energy per phase", [phase.joules for phase in run.phases], joules)


def _per_phase(run: Run, name: str, title: str, values: Sequence[Optional[float]], written: object) -> Optional[Chart]:
    known = [(phase, value) for phase, value in zip(run.phases, values) if value is not None]
    if not known or not callable(written):
        return None
    bars = _bars(
        [phase.name for phase, _ in known],
        [value for _, value in known],
        [str(written(value)) for _, value in known],
        ["var(--warm)" if phase.kind == "grow" else "var(--accent)" for phase, _ in known],
    )
    return Chart(name, title, bars)


def layer_times(run: Run) -> Optional[Chart]:
    """Mean time of each layer as it ran on the engine, the longest first; the shortest together."""
    timed = sorted(run.layer_times, key=lambda layer: -layer.ms)
    if not timed:
        return None
    total = sum(layer.ms for layer in timed)
    names = [_name(layer) for layer in timed[:_MOST_LAYERS]]
    times = [layer.ms for layer in timed[:_MOST_LAYERS]]
    rest = timed[_MOST_LAYERS:]
    if rest:
        names.append(f"{len(rest)} more")
        times.append(sum(layer.ms for layer in rest))
    written = [f"{milliseconds(ms)}  ({percent(ms / total)})" if total else milliseconds(ms) for ms in times]
    colours = ["var(--accent)"] * (len(times) - bool(rest)) + ["var(--soft)"] * bool(rest)
    return Chart("layers", "Time per layer for one image, and its share", _bars(names, times, written, colours, right=120))


def _name(layer: LayerTime) -> str:
    """As the layers of the trained network are called, which is the second part of the deployed one."""
    module = layer.module or layer.name
    return shortened(module[2:] if module.startswith("1.") else module) + (f" · {shortened(layer.op, 12)}" if layer.op else "")


def _bars(names: Sequence[str], values: Sequence[float], written: Sequence[str], colours: List[str], right: int = 90) -> Figure:
    """Bars to the right, each with its name and its value; names may be equal."""
    places = list(range(len(names)))
    bar = {
        "type": "bar",
        "orientation": "h",
        "y": places,
        "x": list(values),
        "text": list(written),
        "textposition": "outside",
        "cliponaxis": False,
        "customdata": [str(escape(name)) for name in names],
        "hovertemplate": "<b>%{customdata}</b><br>%{text}<extra></extra>",
        "marker": {"color": colours},
    }
    high = 28 if len(names) > 8 else 38
    figure = layout(24 + high * len(names))
    figure.update(bargap=0.4, hovermode="closest")
    figure["margin"].update(t=0, r=right, b=4)
    figure["xaxis"].update(visible=False, rangemode="tozero")
    ticks = {"tickmode": "array", "tickvals": places, "ticktext": [str(escape(name)) for name in names]}
    figure["yaxis"].update(autorange="reversed", showgrid=False, **ticks)
    return {"data": [bar], "layout": figure}
