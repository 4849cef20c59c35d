from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

from gearnn.errors import UserError
from gearnn.gate import table, verdicts
from gearnn.robustness import Report


def report(clean, noise, fog):
    robust = (sum(noise) + sum(fog)) / (len(noise) + len(fog))
    return Report(clean, robust, {"noise": noise, "fog": fog}, (1, 5), "generated", 1000, 0)


def lines(found, **options):
    return table({name: verdict.to_dict() for name, verdict in found.items()}, **options)


FP32 = report(0.9, (0.8, 0.6), (0.7, 0.5))


def test_drops_are_in_points_against_fp32():
    found = verdicts({"fp32": FP32, "int8": report(0.895, (0.79, 0.59), (0.72, 0.5))})
    int8 = found["int8"]
    assert int8.clean_drop == pytest.approx(0.5)
    assert int8.robust_drop == pytest.approx(0)
    assert int8.per_corruption_drop == pytest.approx({"noise": 1.0, "fog": -1.0})
    assert (int8.ready, int8.reason, int8.n) == (True, "", 1000)
    assert found["fp32"].ready
    assert found["fp32"].clean_drop == 0


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        (report(0.88, (0.8, 0.6), (0.7, 0.5)), r"^clean accuracy is 2.00 points \(20 of 1,000 images\) below FP32, 1 allowed$"),
        (report(0.9, (0.7, 0.6), (0.7, 0.5)), r"^robust accuracy is 2.50 points"),
        (report(0.85, (0.7, 0.6), (0.7, 0.5)), r"^clean accuracy .* and robust accuracy"),
    ],
)
def test_more_than_allowed_is_not_ready(other, reason):
    found = verdicts({"fp32": FP32, "int8": other})
    assert not found["int8"].ready
    assert re.search(reason, found["int8"].reason)
    assert "noise" in "\n".join(lines(found))
    assert verdicts({"fp32": FP32, "int8": other}, max_drop=10)["int8"].ready


def test_exactly_the_limit_passes():
    assert verdicts({"fp32": FP32, "int8": report(0.89, (0.8, 0.6), (0.7, 0.5))}, max_drop=1.0)["int8"].ready
    assert not verdicts({"fp32": FP32, "int8": report(0.889, (0.8, 0.6), (0.7, 0.5))}, max_drop=1.0)["int8"].ready


def test_the_table_names_corruptions_only_where_asked_or_needed():
    found = verdicts({"fp32": FP32, "int8": report(0.899, (0.8, 0.6), (0.7, 0.5))})
    assert "noise" not in "\n".join(lines(found))
    assert "noise" in "\n".join(lines(found, per_corruption=True))
    assert lines(found)[2].endswith("yes")


def counted(right, hits=None, versions=75):
    """A report on images that were kept; robust accuracy is 0.5 unless it is given."""
    right = np.asarray(right, bool)
    hits = np.full(len(right), versions // 2, np.uint16) if hits is None else np.asarray(hits, np.uint16)
    robust = float(hits.sum() / (versions * len(right)))
    rows = {f"kind {place}": (robust,) * 5 for place in range(versions // 5)}
    return Report(
        float(right.mean()), robust, rows, (1, 2, 3, 4, 5), "generated", len(right), 0, n_clean=len(right), hits=hits, right=right
    )


def judged(reference, other, **options):
    return verdicts({"fp32": reference, "int8": other}, **options)["int8"]


def test_one_of_49_images_forbids_nothing_but_is_named():
    right = np.arange(49) < 35
    found = judged(counted(right), counted(right & (np.arange(49) != 3)))
    assert found.ready and found.reason == "" and found.clean_chance == 0.5
    assert found.note == "clean accuracy is 2.04 points (1 of 49 images) below FP32, which 49 images do not tell from chance"
    shown = "\n".join(lines({"fp32": judged(counted(right), counted(right)), "int8": found}))
    assert "yes (clean accuracy is 2.04 points" in shown and "a drop of 1 point in clean accuracy cannot be told" in shown


def test_a_large_drop_is_refused_however_few_the_images_are():
    right = np.arange(49) < 35
    assert judged(counted(right), counted(np.arange(49) < 33)).ready  # 4.08 points
    found = judged(counted(right), counted(np.arange(49) < 32))  # 6.12, p = 1/8
    assert not found.ready and found.reason.startswith("clean accuracy is 6.12 points (3 of 49 images)")


def test_the_same_drop_is_beyond_chance_where_few_images_changed():
    right, place = np.arange(1000) < 900, np.arange(1000)
    steady = right & (place >= 15)  # 15 lost, none won
    assert not judged(counted(right), counted(steady)).ready
    restless = (right & (place >= 70)) | ((place >= 900) & (place < 955))  # 70 lost, 55 won
    found = judged(counted(right), counted(restless))
    assert found.clean_drop == pytest.approx(1.5) and found.ready and "do not tell from chance" in found.note
    assert 0.05 < found.clean_chance < 0.2


def test_versions_of_an_image_make_small_robust_drops_plain():
    generator = np.random.default_rng(0)
    hits, right = generator.integers(10, 60, 49), np.ones(49, bool)
    found = judged(counted(right, hits), counted(right, hits - 1))  # each image loses one version of 75: 1.33 points
    assert not found.ready and found.reason == "robust accuracy is 1.33 points below FP32, 1 allowed"
    assert found.robust_chance < 1e-3
    one = hits.copy()
    one[np.argmax(hits)] = 0  # one image loses all of its versions: more than a point, but it is one image
    found = judged(counted(right, hits), counted(right, one))
    assert found.robust_drop > 1 and found.ready and found.note.startswith("robust accuracy is")


def test_what_is_allowed_needs_no_test():
    right = np.arange(1000) < 900
    found = judged(counted(right), counted(right & (np.arange(1000) >= 9)))  # 0.9 points, certainly lost
    assert found.clean_chance < 0.01 and found.ready and found.note == ""


def test_accuracies_alone_are_judged_by_whole_images():
    few, other = (replace(FP32, n=49, clean=right / 49) for right in (35, 33))
    assert judged(few, other).ready and judged(few, other).note
    assert not judged(few, replace(few, clean=32 / 49)).ready  # more than 5 points
    assert not judged(replace(FP32, n=200), replace(FP32, n=200, clean=0.88)).ready
    assert judged(replace(FP32, n=200), replace(FP32, n=200, clean=0.8875)).ready  # half an image more than allowed


def test_mistakes():
    with pytest.raises(UserError, match="0 points or more"):
        verdicts({"fp32": FP32}, max_drop=-1)
    with pytest.raises(UserError, match="0 points or more"):
        verdicts({"fp32": FP32}, max_drop=float("nan"))
    with pytest.raises(UserError, match="measure it too"):
        verdicts({"int8": FP32})


def test_latency_and_size_are_shown_where_measured():
    found = verdicts({"fp32": FP32})["fp32"].to_dict()
    assert "0.125    1.06  yes" in table({"fp32": {**found, "latency_ms_p50": 0.125, "bytes": 1_063_491}})[1]
