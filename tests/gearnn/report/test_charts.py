from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Callable

import pytest

from gearnn.report import charts
from gearnn.report.record import read_run
from gearnn.report.sections import draw

MakeRun = Callable[..., Path]
STYLE = Path(charts.__file__).with_name("page.css")


def test_every_figure_is_one_that_plotly_knows(make_run: MakeRun) -> None:
    graph_objects = pytest.importorskip("plotly.graph_objects")
    for name, chart in draw(read_run(make_run())).items():
        assert chart is not None and chart.name == name
        graph_objects.Figure(json.loads(re.sub(r"var\(--[a-z-]+\)", "#123456", json.dumps(chart.figure))))


def test_every_colour_is_in_the_style_sheet_in_both_schemes(make_run: MakeRun) -> None:
    light, dark = STYLE.read_text(encoding="utf-8").split("prefers-color-scheme: dark")
    figures = json.dumps([chart.figure for chart in draw(read_run(make_run())).values() if chart is not None])
    names = set(re.findall(r"var\((--[a-z-]+)\)", figures))
    assert len(names) > 8
    for name in names:
        assert f"{name}:" in light and f"{name}:" in dark


def test_curves_follow_the_phases_and_keep_the_baseline_apart(make_run: MakeRun) -> None:
    run = read_run(make_run())
    chart = charts.accuracy_curves(run)
    assert chart is not None
    training, test, baseline = chart.figure["data"]
    assert len(training["y"]) == len(test["y"]) == 60 and len(baseline["y"]) == 61
    assert test["y"][0] == pytest.approx(100 * run.metrics[0]["test_accuracy"])
    assert [note["text"] for note in chart.figure["layout"]["annotations"]] == ["seed", "regrow", "era", "growth"]
    lines = [shape for shape in chart.figure["layout"]["shapes"] if shape["type"] == "line"]
    assert [line["x0"] for line in lines] == [12.5]


def test_growth_is_marked_only_where_it_happened(make_run: MakeRun) -> None:
    run = read_run(make_run(lambda result: result.update(phases=[])))
    placed = charts.bands(charts.split_metrics(run)[0])
    assert placed == [charts.Band("seed", 0, 12), charts.Band("regrow", 12, 20), charts.Band("era", 20, 60)]
    assert charts.growth_marks(run, placed) == []


def test_means_close_the_heat_map(make_run: MakeRun) -> None:
    run = read_run(make_run())
    chart = charts.corruption_map(run.final)
    assert chart is not None and run.final is not None
    heat = chart.figure["data"][0]
    assert len(heat["z"]) == 16 and {len(row) for row in heat["z"]} == {6}
    assert heat["z"][-1][-1] == pytest.approx(run.final.robust, abs=1e-4)
    assert heat["z"][0][:5] == list(run.final.scores["gaussian_noise"])


def test_differences_are_in_points_and_signed(make_run: MakeRun) -> None:
    run = read_run(make_run())
    chart = charts.difference_map(run.final, run.baseline)
    assert chart is not None and run.final is not None and run.baseline is not None
    heat = chart.figure["data"][0]
    expected = 100 * (run.final.scores["fog"][2] - run.baseline.scores["fog"][2])
    assert heat["z"][9][2] == pytest.approx(expected)
    assert {cell[0] for row in heat["text"] for cell in row} == {"+", "−"}  # the fixture has gains and losses
    assert heat["zmin"] == -heat["zmax"]


def test_a_score_that_was_not_measured_stays_empty(make_run: MakeRun) -> None:
    def drop(result):  # type: ignore[no-untyped-def]
        result["networks"][2]["robustness"]["per_corruption"]["fog"][2] = None

    run = read_run(make_run(drop))
    chart, difference = charts.corruption_map(run.final), charts.difference_map(run.final, run.baseline)
    assert chart is not None and difference is not None
    for heat in (chart.figure["data"][0], difference.figure["data"][0]):
        assert heat["z"][9][2] is None and heat["z"][9][-1] is None and heat["z"][-1][-1] is None
        assert heat["text"][9][2] == ""


def test_networks_measured_differently_are_not_subtracted(make_run: MakeRun) -> None:
    def fewer(result):  # type: ignore[no-untyped-def]
        result["networks"][3]["robustness"]["per_corruption"].pop("fog")

    run = read_run(make_run(fewer))
    assert charts.difference_map(run.final, run.baseline) is None
    assert charts.difference_map(run.final, None) is None


def test_growth_bars_say_what_growth_consists_of(make_run: MakeRun) -> None:
    def rounded(result):  # type: ignore[no-untyped-def]
        result["growth"]["layers"][0].update(split=5, new=10, score=-0.0125, cost={"<parameters>": 1200})

    chart = charts.width_bars(read_run(make_run(rounded)))
    assert chart is not None
    seed, grown = chart.figure["data"]
    assert (seed["x"][0], grown["x"][0]) == (8, 24)
    assert grown["customdata"][0] == (
        "<b>features.0.0</b><br>8 → 24<br>5 split · 10 new<br>score -0.0125 · +1,200 &lt;parameters&gt;"
    )


def test_nothing_to_draw_is_no_chart(tmp_path: Path) -> None:
    (tmp_path / "result.json").write_text("{}", encoding="utf-8")
    assert set(draw(read_run(tmp_path)).values()) == {None}
