from __future__ import annotations

import json
from pathlib import Path
from typing import Callable

import pytest

from gearnn.report import curves
from gearnn.report.record import read_run

MakeRun = Callable[..., Path]


def test_curves_follow_the_phases_and_keep_the_baseline_apart(make_run: MakeRun) -> None:
    run = read_run(make_run())
    chart = curves.accuracy_curves(run)
    assert chart is not None
    training, test, baseline = chart.figure["data"]
    assert len(training["y"]) == len(test["y"]) == 60 and len(baseline["y"]) == 61
    assert test["y"][0] == pytest.approx(100 * run.metrics[0]["test_accuracy"])
    assert [note["text"] for note in chart.figure["layout"]["annotations"]] == ["seed", "regrow", "era", "growth"]
    lines = [shape for shape in chart.figure["layout"]["shapes"] if shape["type"] == "line"]
    assert [line["x0"] for line in lines] == [12.5]


def test_growth_is_marked_only_where_it_happened(make_run: MakeRun) -> None:
    run = read_run(make_run(lambda result: result.update(phases=[])))
    placed = curves.bands(curves.split_metrics(run)[0])
    assert placed == [curves.Band("seed", 0, 12), curves.Band("regrow", 12, 20), curves.Band("era", 20, 60)]
    assert curves.growth_marks(run, placed) == []


def test_names_of_short_phases_never_meet() -> None:
    long = [(8.1, "x" * 40), (8.2, "y" * 40), (8.3, "z" * 40)]
    labels = [(1.0, "a one-epoch seed phase"), (2.0, "regrow"), (8.0, "era"), *long]
    lines = curves.lines_of(labels, 10)
    # The second has no room beside the first, the third has; for the last there is no line left.
    assert lines == [0, 1, 0, 2, None, None]
    placed = [(line, *curves._extent(centre, written, 10)) for (centre, written), line in zip(labels, lines) if line is not None]
    for index, (line, left, right) in enumerate(placed):
        assert 0 <= left < right <= 290
        for other, start, end in placed[:index]:
            assert line != other or end < left or right < start


def test_labels_stand_above_the_curves(make_run: MakeRun) -> None:
    folder = make_run()
    rows = [{"phase": phase, "test_accuracy": 0.9} for phase in ("seed", *["regrow"] * 6, *["era"] * 33)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    chart = curves.accuracy_curves(read_run(folder))
    assert chart is not None
    layout = chart.figure["layout"]
    for note in layout["annotations"]:
        assert note["y"] == 1 and note["yanchor"] == "bottom" and 0 <= note["yshift"] < layout["margin"]["t"]
    assert [note["text"] for note in layout["annotations"]] == ["seed", "regrow", "era", "growth"]
    assert len({note["yshift"] for note in layout["annotations"]}) > 1


def test_runs_are_drawn_over_each_other_without_their_baselines(make_run: MakeRun) -> None:
    run = read_run(make_run())
    chart = curves.curves_of_runs([("<a>", run), ("b", run)], "test_accuracy", "Test accuracy", percent=True)
    assert chart is not None and chart.name == "test-accuracy"
    first, second = chart.figure["data"]
    assert first["name"] == "&lt;a&gt;" and len(first["y"]) == len(second["y"]) == 60
    assert first["line"]["color"] != second["line"]["color"]
    assert curves.curves_of_runs([("a", run)], "unknown", "", percent=False) is None
