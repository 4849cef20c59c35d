from __future__ import annotations

from pathlib import Path
from typing import Any, Callable, Dict

from gearnn.report.headline import accuracy, headline, question, summary
from gearnn.report.record import read_run

MakeRun = Callable[..., Path]


def test_the_summary_tells_gains_and_losses(make_run: MakeRun) -> None:
    told = summary(read_run(make_run())).replace("\u202f", " ")
    assert "mobilenet_v1 grew from 60,418 to 107,930 parameters." in told
    assert "98.3 % of the clean images (96.4 to 99.2 %, 360 images)" in told and "generated corruptions)" in told
    assert "points robust and −0.6 points clean accuracy" in told
    assert "0.412 ms (median)" in told


def test_accuracies_stand_with_the_images_they_are_of(make_run: MakeRun) -> None:
    def judged(result: Dict[str, Any]) -> None:
        result["dataset"]["n_test"] = 49
        result["clean_accuracy"] = 35 / 49
        result["networks"][2]["robustness"]["robust_interval"] = [0.604, 0.749]

    shown = headline(read_run(make_run(judged))).replace("\u202f", " ")
    assert '<p class="figure">71.4 %</p><p class="remark">95 %: 58 to 82 %, 49 images; −27.5 points against' in shown
    assert "95 %: 60 to 75 %, 49 images, 75 versions each" in shown


def test_only_what_was_measured_is_told(make_run: MakeRun) -> None:
    run = read_run(make_run(lambda result: result.update(networks=result["networks"][:3], engine={}, params_seed=None)))
    told = summary(run)
    assert "grew" not in told and "Against" not in told and "median" not in told
    shown = headline(run)
    assert "the same size trained clean" not in shown and "not measured" in shown


def test_accuracy_is_the_engines(make_run: MakeRun) -> None:
    run = read_run(make_run(lambda result: result.pop("clean_accuracy")))
    assert accuracy(run, "clean") == 0.9833
    bare = read_run(
        make_run(lambda result: [result.pop(key) for key in ("clean_accuracy", "robust_accuracy", "engine", "networks")])
    )
    assert accuracy(bare, "clean") is None and accuracy(bare, "robust") is None


def test_warnings_are_pointed_to(make_run: MakeRun) -> None:
    folder = make_run()
    assert '<a href="#notes" class="pointer">1 warning</a>' in headline(read_run(folder))
    (folder / "config.json").unlink()
    assert ">2 warnings<" in headline(read_run(folder))


def test_the_origin_of_the_corruptions_is_not_invented(make_run: MakeRun) -> None:
    assert '<span class="chip">generated</span>' in headline(read_run(make_run()))
    run = read_run(make_run(lambda result: result["networks"][2]["robustness"].pop("kind")))
    assert '<span class="chip">origin not recorded</span>' in headline(run) and "generated" not in summary(run)


def test_what_was_asked_is_said_in_a_persons_words(make_run: MakeRun) -> None:
    told = question(read_run(make_run())).replace("\u202f", " ")
    limits = "1,064 channels in all its layers together (1.4 times as many as at first) and 50.0 MB of training memory"
    assert f"Grow it to at most {limits}." in told
    assert " classes, 32×32 pixels." in told

    def by_parameters(result: Dict[str, Any]) -> None:
        result["growth"]["budget"] = [{"name": "parameters", "unit": "", "before": 1, "after": 2, "limit": 400_000}]

    assert "Grow it to at most 400,000 parameters." in question(read_run(make_run(by_parameters)))
