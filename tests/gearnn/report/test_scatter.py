from __future__ import annotations

from gearnn.report.scatter import Point, front, trade_off


def test_the_front_holds_what_nothing_beats() -> None:
    assert front([3, 1, 2, 2, None, 4], [0.9, 0.5, 0.8, 0.7, 1.0, 0.9]) == [1, 2, 0]
    assert front([1, 1], [0.5, 0.5]) == [0]
    assert front([], []) == []


def test_points_show_both_accuracies_over_their_cost() -> None:
    points = [
        Point("<small>", 0.9, 0.6, 0.5, 1e6, 1000),
        Point("large", 0.95, 0.8, None, 4e6),
        Point("unjudged", None, None, 1.0, 2e6),
    ]
    latency, size = trade_off(points)
    assert latency is not None and size is not None
    line, small, large = size.figure["data"]
    assert line["x"] == [1.0, 4.0] and line["y"] == [60, 80]
    assert small["x"] == [1.0, 1.0] and small["y"] == [60, 90] and small["name"] == "&lt;small&gt;"
    assert "1,000 parameters" in small["hovertemplate"] and "<small>" not in small["hovertemplate"]
    assert small["marker"]["color"] != large["marker"]["color"] and small["marker"]["symbol"] != large["marker"]["symbol"]
    assert len(latency.figure["data"]) == 2  # one has no latency, one no accuracy
    assert latency.note == "Not measured for: large; unjudged." and size.note == "Not measured for: unjudged."
    assert latency.figure["layout"]["yaxis"]["range"] == size.figure["layout"]["yaxis"]["range"]


def test_nothing_known_is_no_chart() -> None:
    assert trade_off([Point("a", None, 0.5, None, None), Point("b", None, None, 1.0, 1.0)]) == (None, None)
    assert trade_off([]) == (None, None)
