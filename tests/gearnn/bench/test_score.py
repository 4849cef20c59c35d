"""The table of channel sums."""

from __future__ import annotations

import pytest
import torch

from gearnn.bench import score
from gearnn.bench.score import bench_score
from gearnn.kernels.registry import Probe


def test_rows_and_ratios() -> None:
    ticks = []
    before = torch.get_num_threads()
    results, skipped = bench_score([(4, 3, 8, 8)], (1, 2), seconds=0.01, progress=lambda *tick: ticks.append(tick))
    assert skipped == [] and torch.get_num_threads() == before and ticks[-1] == ("channel sums", 4, 4)
    assert [(row["name"], row["layout"], row["threads"]) for row in results] == [
        (name, layout, threads) for layout in ("NCHW", "channels-last") for threads in (1, 2) for name in ("fused", "torch")
    ]
    for fused, plain in zip(results[0::2], results[1::2]):
        assert plain["ratio_to_torch"] == 1
        assert fused["ratio_to_torch"] == pytest.approx(plain["ms"] / fused["ms"])
        assert fused["gb_per_s"] == pytest.approx(2 * 4 * 3 * 64 * 4 / fused["ms"] / 1e6)
        assert fused["n"] >= 3 and fused["q25"] <= fused["ms"] <= fused["q75"]
        assert fused["shape"] == [4, 3, 8, 8] and fused["device"] == "cpu"


def test_both_compute_the_same_sums() -> None:
    a, g = torch.randn(2, 5, 4, 6, 7, generator=torch.Generator().manual_seed(0))
    found = score._jobs([(a, g)], "numba", 1)
    for ours, torchs in zip(found["fused"](), found["torch"]()):  # type: ignore[call-overload]
        torch.testing.assert_close(ours.float(), torchs, rtol=1e-4, atol=1e-4)


def test_without_its_back_end_ours_is_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(score, "probe", lambda name: Probe(name, False, "numba is not installed", "pip install numba"))
    results, skipped = bench_score([(4, 3, 8, 8)], (1,), seconds=0.01)
    assert skipped == [{"name": "fused", "reason": "numba is not installed; pip install numba"}]
    assert {row["name"] for row in results} == {"torch"}
