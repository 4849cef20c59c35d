from __future__ import annotations

import re

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
        (report(0.88, (0.8, 0.6), (0.7, 0.5)), r"^clean accuracy is 2.00 points below FP32, 1 allowed$"),
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
