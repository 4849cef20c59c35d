from __future__ import annotations

from pathlib import Path
from typing import Callable

import pytest

from gearnn.report import heat
from gearnn.report.certainty import ClassScore
from gearnn.report.record import read_run

MakeRun = Callable[..., Path]


def test_means_close_the_heat_map(make_run: MakeRun) -> None:
    run = read_run(make_run())
    chart = heat.corruption_map(run.final)
    assert chart is not None and run.final is not None
    cells = chart.figure["data"][0]
    assert len(cells["z"]) == 16 and {len(row) for row in cells["z"]} == {6}
    assert cells["z"][-1][-1] == pytest.approx(run.final.robust, abs=1e-4)
    assert cells["z"][0][:5] == list(run.final.scores["gaussian_noise"])


def test_differences_are_in_points_and_signed(make_run: MakeRun) -> None:
    run = read_run(make_run())
    chart = heat.difference_map(run.final, run.baseline)
    assert chart is not None and run.final is not None and run.baseline is not None
    cells = chart.figure["data"][0]
    expected = 100 * (run.final.scores["fog"][2] - run.baseline.scores["fog"][2])
    assert cells["z"][9][2] == pytest.approx(expected)
    assert {cell[0] for row in cells["text"] for cell in row} >= {"+", "−"}  # the fixture has gains and losses
    assert cells["zmin"] == -cells["zmax"]


def test_a_score_that_was_not_measured_stays_empty(make_run: MakeRun) -> None:
    def drop(result):  # type: ignore[no-untyped-def]
        result["networks"][2]["robustness"]["per_corruption"]["fog"][2] = None

    run = read_run(make_run(drop))
    chart, difference = heat.corruption_map(run.final), heat.difference_map(run.final, run.baseline)
    assert chart is not None and difference is not None
    for cells in (chart.figure["data"][0], difference.figure["data"][0]):
        assert cells["z"][9][2] is None and cells["z"][9][-1] is None and cells["z"][-1][-1] is None
        assert cells["text"][9][2] == ""


def test_networks_measured_differently_are_not_subtracted(make_run: MakeRun) -> None:
    def fewer(result):  # type: ignore[no-untyped-def]
        result["networks"][3]["robustness"]["per_corruption"].pop("fog")

    run = read_run(make_run(fewer))
    assert heat.difference_map(run.final, run.baseline) is None
    assert heat.difference_map(run.final, None) is None


def test_runs_stand_side_by_side(make_run: MakeRun) -> None:
    run = read_run(make_run())
    fewer = read_run(make_run(lambda result: result["networks"][2]["robustness"]["per_corruption"].pop("fog"), "fewer"))
    chart = heat.side_by_side([("a", run.final), ("b", fewer.final), ("none", None)])
    assert chart is not None and run.final is not None
    cells = chart.figure["data"][0]["z"]
    assert len(cells) == 16 and cells[9][1] is None and {row[2] for row in cells} == {None}
    assert cells[9][0] == pytest.approx(sum(run.final.scores["fog"]) / 5) and cells[-1][0] == pytest.approx(
        run.final.robust, abs=1e-4
    )
    assert heat.side_by_side([("a", None), ("b", None)]) is None


def test_confusions_are_shares_of_a_class_and_wrong_ones_negative() -> None:
    scores = [ClassScore("cat", 20, 15, (("cat", 15), ("dog", 5))), ClassScore("dog", 10, 9, (("cat", 1), ("dog", 9)))]
    chart = heat.confusion_map(scores)
    assert chart is not None
    shown = chart.figure["data"][0]
    assert shown["z"] == [[0.75, -0.25], [-0.1, 0.9]] and shown["text"] == [["15", "5"], ["1", "9"]]
    assert shown["customdata"][0][1] == "cat, named dog: 5 of 20 images" and chart.figure["layout"]["shapes"] == []
    assert heat.confusion_map(scores[:1]) is None and heat.confusion_map(scores * 7) is None
