from __future__ import annotations

from pathlib import Path
from typing import Callable

import pytest

from gearnn.report import bars
from gearnn.report.record import read_run

MakeRun = Callable[..., Path]


def test_the_network_is_drawn_before_and_after(make_run: MakeRun) -> None:
    def rounded(result):  # type: ignore[no-untyped-def]
        result["growth"]["layers"][0].update(split=5, new=10, score=-0.0125, cost={"<parameters>": 1200})

    chart = bars.network_drawing(read_run(make_run(rounded)))
    assert chart is not None
    before, after, kept = chart.figure["data"]
    assert (before["y"][0], after["y"][0], kept["y"][0]) == (8, 24, 8)
    assert (before["base"][0], after["base"][0]) == (-4, -12)  # both stand on one axis through the middle
    assert before["yaxis"] == "y" and after["yaxis"] == kept["yaxis"] == "y2"
    layout = chart.figure["layout"]
    assert layout["yaxis"]["range"] == layout["yaxis2"]["range"] and layout["yaxis"]["range"][1] > 168 / 2
    assert after["customdata"][0] == (
        "<b>features.0.0</b><br>8 → 24<br>5 split · 10 new<br>score -0.0125 · +1,200 &lt;parameters&gt;"
    )


def test_phases_that_were_not_metered_have_no_bar(make_run: MakeRun) -> None:
    def unmetered(result):  # type: ignore[no-untyped-def]
        result["phases"][0]["joules"] = None

    run = read_run(make_run(unmetered))
    times, energies = bars.phase_times(run), bars.phase_energies(run)
    assert times is not None and energies is not None
    assert times.figure["data"][0]["customdata"] == ["seed", "growth", "regrow", "era", "baseline"]
    assert energies.figure["data"][0]["customdata"] == ["growth", "regrow", "era", "baseline"]
    assert energies.figure["data"][0]["x"][2] == pytest.approx(21.5 * 171.2)
    assert energies.figure["data"][0]["text"][2].replace("\u202f", " ") == "3.7 kJ"


def test_layers_are_the_longest_first_and_the_rest_together(make_run: MakeRun) -> None:
    chart = bars.layer_times(read_run(make_run()))
    assert chart is not None
    bar = chart.figure["data"][0]
    assert bar["customdata"][0] == "classifier · Conv" and bar["customdata"][1] == "features.54.0 · Conv"
    assert bar["x"][:16] == sorted(bar["x"][:16], reverse=True) and bar["customdata"][16] == "1 more"
    assert sum(bar["x"]) == pytest.approx(sum(0.02 + 0.003 * index for index in range(17)))
    assert bars.layer_times(read_run(make_run(lambda result: result["engine"].update(layers=None)))) is None
