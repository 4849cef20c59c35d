from __future__ import annotations

from pathlib import Path
from typing import Any, Callable, Dict, List, Optional

import pytest

from gearnn.report.readiness import checks, readiness, verdict
from gearnn.report.record import read_run

MakeRun = Callable[..., Path]


def passed(folder: Path) -> List[Optional[bool]]:
    return [check.passed for check in checks(read_run(folder))]


def test_a_network_that_passes_all_is_ready(make_run: MakeRun) -> None:
    folder = make_run()
    assert passed(folder) == [True, True, True, True]
    shown = readiness(read_run(folder)).replace("\u202f", " ")
    meant = "computes on its engine what it does in torch, is right more often than guessing and keeps to its budget"
    assert f"Ready: the FP32 network {meant}." in shown and "ready-yes" in shown
    assert "98.3 % of the test images (96.4 to 99.2 %, 360 images)" in shown and "caveat" not in shown
    assert "3.1 × 10⁻⁶ at most" in shown and "2 limits kept" in shown


@pytest.mark.parametrize(
    ("change", "failed", "told"),
    [
        (lambda result: result["engine"]["comparison"].update(max_abs=2e-4), 0, "2.0 × 10⁻⁴"),
        (lambda result: result["engine"]["comparison"].update(top1_agreement=0.97), 0, "97.0 %"),
        (lambda result: result.update(clean_accuracy=0.1), 1, "always naming 0 gives 10.0 %"),
        (lambda result: result["growth"]["budget"][0].update(after=1065), 2, "summed widths is 1,065, 1,064 allowed"),
        (lambda result: result["growth"]["checks"][0].update(measured=5.1e7), 2, "training memory is 51.0 MB, 50.0 MB allowed"),
    ],
)
def test_one_failed_check_is_enough(make_run: MakeRun, change: Callable[[Dict[str, Any]], None], failed: int, told: str) -> None:
    run = read_run(make_run(change))
    found = checks(run)
    assert [check.passed for check in found].index(False) == failed and verdict(found) == "Not ready"
    assert told in readiness(run).replace("\u202f", " ") and "ready-no" in readiness(run)


def test_large_logits_may_differ_in_proportion(make_run: MakeRun) -> None:
    folder = make_run(lambda result: result["engine"]["comparison"].update(max_abs=2e-4, largest=155.0))
    assert passed(folder)[0] is True and "1.6 × 10⁻³ allowed" in readiness(read_run(folder)).replace("\u202f", " ")


def test_what_was_not_measured_is_not_passed(make_run: MakeRun) -> None:
    folder = make_run(lambda result: result["engine"].pop("comparison"))
    assert passed(folder)[0] is None and verdict(checks(read_run(folder))) == "Not known"
    assert "Not known" in readiness(read_run(folder)) and "ready-yes" not in readiness(read_run(folder))


def test_a_baseline_or_growth_that_was_not_asked_for_does_not_matter(make_run: MakeRun) -> None:
    folder = make_run(lambda result: [result["networks"].pop(), result.update(growth={})])
    assert passed(folder) == [True, True, None] and verdict(checks(read_run(folder))) == "Ready"


def test_being_less_robust_than_the_baseline_is_said(make_run: MakeRun) -> None:
    folder = make_run(lambda result: result["networks"][3].update(robust_accuracy=0.999))
    assert passed(folder)[3] is False and verdict(checks(read_run(folder))) == "Ready"
    assert "−" in checks(read_run(folder))[3].found


def few(right: int, counts: List[int]) -> Callable[[Dict[str, Any]], None]:
    """A run judged on few images of several classes."""

    def change(result: Dict[str, Any]) -> None:
        result["dataset"]["n_test"] = sum(counts)
        result["clean_accuracy"] = right / sum(counts)
        result["classes"] = [str(place) for place in range(len(counts))]
        result["per_class"] = [{"class": str(place), "images": n, "right": 0, "named": {}} for place, n in enumerate(counts)]

    return change


def test_luck_with_few_images_is_not_ready(make_run: MakeRun) -> None:
    run = read_run(make_run(few(25, [19, 16, 14])))  # 51 %, but chance could do it: always naming class 0 is right on 39 %
    check = checks(run)[1]
    assert check.passed is False and verdict(checks(run)) == "Not ready"
    told = check.found.replace("\u202f", " ")
    assert "51.0 % of the test images (37 to 64 %, 49 images); always naming 0 gives 38.8 %, which so few images" in told
    assert checks(read_run(make_run(few(250, [190, 160, 140]))))[1].passed is True  # the same share of more images


def test_the_commonest_class_is_what_guessing_names(make_run: MakeRun) -> None:
    assert checks(read_run(make_run(few(850, [900, 50, 50]))))[1].passed is False
    assert checks(read_run(make_run(few(930, [900, 50, 50]))))[1].passed is True


def test_few_images_carry_a_caveat(make_run: MakeRun) -> None:
    shown = readiness(read_run(make_run(few(40, [19, 16, 14])))).replace("\u202f", " ")
    assert "ready-yes" in shown and shown.count("caveat") == 1
    assert "Judged on 49 images only: its accuracy on others may be anywhere from 69 to 90 %" in shown
    assert "caveat" not in readiness(read_run(make_run(few(80, [40, 30, 30]))))


def test_without_a_number_of_images_nothing_is_known(make_run: MakeRun) -> None:
    found = checks(read_run(make_run(lambda result: result["dataset"].pop("n_test"))))
    assert found[1].passed is None and verdict(found) == "Not known"
