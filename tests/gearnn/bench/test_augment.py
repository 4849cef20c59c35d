"""The table of augmentations: what it counts and what it compares."""

from __future__ import annotations

import importlib.util
from typing import Any, Dict, List

import pytest
import torch

from gearnn.bench import augment
from gearnn.bench.augment import bench_augment


def _row(rows: List[Dict[str, Any]], name: str, threads: int) -> Dict[str, Any]:
    """The row of a candidate in the part of the table that was timed with that many threads."""
    begin = next(index for index, row in enumerate(rows) if row["name"] == "era" and row["threads"] == threads)
    return next(row for row in rows[begin:] if row["name"] == name)


def test_rows_ratios_and_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(augment, "peak_growth_mb", lambda name, size, batch, seed: 2.0 * batch)
    ticks = []
    before = torch.get_num_threads()
    rows, skipped = bench_augment((16,), (1, 2), batch=4, seconds=0.01, progress=lambda *tick: ticks.append(tick))
    assert torch.get_num_threads() == before
    assert {entry["name"] for entry in skipped} == (set() if importlib.util.find_spec("kornia") else {"kornia"})
    assert len(rows) == 2 * (9 - len(skipped)) + 1
    one, two = _row(rows, "era-one-thread", 2), _row(rows, "era", 2)
    assert one["threads"] == 1 and two["ratio_to_one_thread"] == pytest.approx(two["images_per_s"] / one["images_per_s"])
    assert [row["threads"] for row in rows if "ratio_to_one_thread" in row] == [2]
    for threads in (1, 2):
        era, pillow, torchs = (_row(rows, name, threads) for name in ("era", "pillow", "torch"))
        assert era["ratio_to_pillow"] == pytest.approx(era["images_per_s"] / pillow["images_per_s"])
        assert era["ratio_to_torch"] == pytest.approx(era["images_per_s"] / torchs["images_per_s"])
        assert pillow["ratio_to_pillow"] == 1 and pillow["threads"] == 1 and torchs["threads"] == threads
        prime, prime_torch = _row(rows, "prime", threads), _row(rows, "prime-torch", threads)
        assert prime["ratio_to_prime_torch"] == pytest.approx(prime["images_per_s"] / prime_torch["images_per_s"])
        assert prime["peak_mb"] == 8 and prime["peak_over_batch"] == pytest.approx(8e6 / (3 * 4 * 3 * 16 * 16 * 4))
        assert "ratio_to_augmix_pillow" in _row(rows, "augmix", threads) and "ratio_to_pillow" not in prime
    for row in rows:
        assert row["n"] >= 3 and row["q25"] <= row["images_per_s"] <= row["q75"]
        assert row["pixels_per_s"] == pytest.approx(256 * row["images_per_s"])
        assert (row["size"], row["batch"], row["device"]) == (16, 4, "cpu")
    labels = {label for label, _, _ in ticks}
    assert labels == {f"{family} 16x16, {n}" for family in ("ERA", "AugMix", "PRIME") for n in ("1 thread", "2 threads")}
    assert [tick[1] for tick in ticks].count(100) == len(labels)  # each ends once


def test_views_are_counted_without_the_clean_one(monkeypatch: pytest.MonkeyPatch) -> None:
    from gearnn.bench.timing import Timing

    monkeypatch.setattr(
        augment, "interleave", lambda jobs, seconds, tick, settle: {name: Timing(0.5, 0.25, 1.0, 7) for name in jobs}
    )
    monkeypatch.setattr(augment, "peak_growth_mb", lambda *job: None)
    rows, _ = bench_augment((16,), (1,), batch=10)
    counted = {row["name"]: (row["images_per_s"], row["q25"], row["q75"], row["n"]) for row in rows}
    assert counted["era"] == counted["pillow"] == (60, 30, 120, 7)
    assert counted["augmix"] == counted["augmix-pillow"] == (20, 10, 40, 7)
    assert counted["prime"] == counted["prime-torch"] == (40, 20, 80, 7)
    assert all(row["peak_over_batch"] is None for row in rows if row["name"].startswith("prime"))


def test_what_is_skipped_has_no_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        augment, "skipped", lambda device: [{"name": name, "reason": "no"} for name in ("kornia", "pillow", "era")]
    )
    monkeypatch.setattr(augment, "peak_growth_mb", lambda *job: None)
    rows, skipped = bench_augment((16,), (1,), batch=2, seconds=0.01)
    assert not {row["name"] for row in rows} & {"kornia", "pillow", "era"} and len(skipped) == 3
    torchs = next(row for row in rows if row["name"] == "torch")
    assert "ratio_to_pillow" not in torchs and torchs["ratio_to_torch"] == 1
