from __future__ import annotations

from pathlib import Path
from typing import Any, Callable, Dict

import pytest

from gearnn.report import certainty
from gearnn.report.record import read_run

MakeRun = Callable[..., Path]

CLASSES = [
    {"class": "cat", "images": 20, "right": 15, "named": {"cat": 15, "dog": 5}},
    {"class": "dog", "images": 10, "right": 9, "named": {"cat": 1, "dog": 9}},
]


def with_classes(result: Dict[str, Any]) -> None:
    result["per_class"] = [dict(entry) for entry in CLASSES]
    result["classes"] = ["cat", "dog"]


def test_scores_per_class_are_read(make_run: MakeRun) -> None:
    scores = certainty.class_scores(read_run(make_run(with_classes)))
    assert [(score.name, score.images, score.right) for score in scores] == [("cat", 20, 15), ("dog", 10, 9)]
    assert scores[0].named == (("cat", 15), ("dog", 5))


@pytest.mark.parametrize("change", [{"images": None}, {"right": 21}, {"class": None}, {"right": "many"}])
def test_what_is_no_score_leaves_no_scores(make_run: MakeRun, change: Dict[str, Any]) -> None:
    def broken(result: Dict[str, Any]) -> None:
        with_classes(result)
        result["per_class"][0].update(change)

    run = read_run(make_run(broken))
    assert certainty.class_scores(run) == []
    assert certainty.guessing(run) == (0.5, "guessing among 2 gives 50.0\u202f%")


def test_guessing_names_the_commonest_class(make_run: MakeRun) -> None:
    assert certainty.guessing(read_run(make_run(with_classes))) == (20 / 30, "always naming cat gives 66.7\u202f%")
    assert certainty.guessing(read_run(make_run(lambda result: result.update(classes=["one"], per_class=[])))) is None


def test_how_far_an_accuracy_is_known(make_run: MakeRun) -> None:
    run = read_run(make_run())
    assert certainty.known_to(run, "clean", 0.9833) == "96.4 to 99.2\u202f%, 360 images"
    assert certainty.known_to(run, "robust", 0.9) == "360 images, 75 versions each"
    assert certainty.known_to(run, "clean", None) is None
    assert certainty.interval(run, "clean", 1.5) is None  # no accuracy at all


def test_few_images_are_warned_of(make_run: MakeRun) -> None:
    assert certainty.caveat(read_run(make_run()), 0.9) is None
    run = read_run(make_run(lambda result: result["dataset"].update(n_test=99)))
    assert "Judged on 99 images only" in str(certainty.caveat(run, 0.9)) and certainty.caveat(run, None) is None
