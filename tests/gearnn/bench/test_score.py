"""The table of channel sums."""

from __future__ import annotations

import pytest

from gearnn.bench.score import bench_score


def test_results_and_ratios() -> None:
    results = bench_score([(4, 3, 8, 8)], (1,), seconds=0.01)
    assert [(row["name"], row["layout"]) for row in results] == [
        ("fused", "NCHW"),
        ("torch", "NCHW"),
        ("fused", "channels-last"),
        ("torch", "channels-last"),
    ]
    fused, plain = results[:2]
    assert plain["ratio_to_torch"] == 1
    assert fused["ratio_to_torch"] == pytest.approx(plain["ms"] / fused["ms"])
    assert fused["gb_per_s"] == pytest.approx(2 * 4 * 3 * 64 * 4 / fused["ms"] / 1e6)
    assert fused["n"] >= 3 and fused["q25"] <= fused["ms"] <= fused["q75"]
