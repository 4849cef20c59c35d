from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Callable

import pytest

from gearnn.report import charts
from gearnn.report.charts import draw
from gearnn.report.record import read_run

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


def test_nothing_to_draw_is_no_chart(tmp_path: Path) -> None:
    (tmp_path / "result.json").write_text("{}", encoding="utf-8")
    assert set(draw(read_run(tmp_path)).values()) == {None}


def test_networks_of_older_runs_take_the_latency_that_is_known(make_run: MakeRun) -> None:
    def older(result):  # type: ignore[no-untyped-def]
        for network in result["networks"]:
            network.pop("latency_ms_p50")

    assert [point.latency for point in charts.points(read_run(make_run(older)))] == [None, None, 0.412, None]
    assert [point.latency for point in charts.points(read_run(make_run()))] == [0.251, 0.408, 0.412, 0.41]
