"""What the charts have in common: plotly's own JSON, its colours named by CSS custom properties so that one palette per scheme
serves them all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Dict, Optional

Figure = Dict[str, Any]

SERIES = tuple(f"var(--series-{index})" for index in range(8))
"""Colours that tell networks or runs apart."""


@dataclass(frozen=True)
class Chart:
    """A figure with the id of its place on the page and a sentence that says what it shows."""

    name: str
    title: str
    figure: Figure
    note: Optional[str] = None

    @property
    def height(self) -> int:
        """In CSS pixels."""
        return int(self.figure["layout"]["height"])


def layout(height: int) -> Figure:
    """Axes, type and margins of every chart."""
    family = "system-ui, -apple-system, Segoe UI, Roboto, sans-serif"
    axis = {"gridcolor": "var(--rule)", "zeroline": False, "automargin": True, "fixedrange": True, "ticks": ""}
    return {
        "height": height,
        "autosize": True,
        "dragmode": False,
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"family": family, "size": 12, "color": "var(--ink)"},
        "hoverlabel": {
            "bgcolor": "var(--raised)",
            "bordercolor": "var(--rule)",
            "font": {"family": family, "color": "var(--ink)"},
        },
        "margin": {"l": 8, "r": 40, "t": 8, "b": 24, "pad": 6},
        "xaxis": {**axis, "showgrid": False},
        "yaxis": dict(axis),
    }


def legend(y: float = 1.0) -> Figure:
    """Above the plot, or below it for a negative ``y``."""
    return {"orientation": "h", "x": 0, "xanchor": "left", "y": y, "yanchor": "bottom" if y >= 1 else "top"}


def axis_title(written: str) -> Figure:
    """Small and muted, near its axis."""
    return {"text": written, "standoff": 6, "font": {"size": 12, "color": "var(--muted)"}}


def shortened(name: str, longest: int = 26) -> str:
    """A name that leaves room for what it names; its end tells more than its middle."""
    return name if len(name) <= longest else f"{name[: longest // 2 - 1]}…{name[-(longest - longest // 2) :]}"
