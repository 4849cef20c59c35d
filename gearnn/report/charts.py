"""All charts of a run's page."""

from __future__ import annotations

from typing import Mapping, Optional, Tuple

from gearnn.report.bars import layer_times, network_drawing, phase_energies, phase_times
from gearnn.report.certainty import class_scores
from gearnn.report.curves import accuracy_curves, loss_curves
from gearnn.report.heat import confusion_map, corruption_map, difference_map
from gearnn.report.plots import Chart
from gearnn.report.record import Run
from gearnn.report.scatter import Point, trade_off

Charts = Mapping[str, Optional[Chart]]


def draw(run: Run) -> Charts:
    """All charts by name, None where there is nothing to draw."""
    by_latency, by_size = trade_off(points(run))
    return {
        "trade-latency": by_latency,
        "trade-size": by_size,
        "accuracy": accuracy_curves(run),
        "loss": loss_curves(run),
        "widths": network_drawing(run),
        "confusion": confusion_map(class_scores(run)),
        "corruptions": corruption_map(run.final),
        "difference": difference_map(run.final, run.baseline),
        "layers": layer_times(run),
        "time": phase_times(run),
        "energy": phase_energies(run),
    }


def points(run: Run) -> Tuple[Point, ...]:
    """The measured networks with what they cost."""
    return tuple(
        Point(network.label, network.clean, network.robust, network.latency, network.bytes, network.params)
        for network in run.networks
    )
