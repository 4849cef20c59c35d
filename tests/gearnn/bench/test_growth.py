"""The growers side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict

import pytest
import torch

from gearnn.bench import growth
from gearnn.bench.growth import Setting, bench_growth, summary
from gearnn.config import Budget, GrowthConfig, Optimizer
from gearnn.data import Dataset


@pytest.mark.slow
def test_cells_are_kept_and_rows_summarise_them(tiny_dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    setting = Setting(
        arch="mobilenet_v1",
        seed_epochs=1,
        epochs=1,
        budget=Budget(params="40k"),
        growth=GrowthConfig(batches=1, micro_batch=16),
        optimizer=Optimizer(batch_size=32, learning_rate=0.05),
        flip=False,
    )
    given = {"growers": ("osg", "random"), "seeds": (0, 1), "device": torch.device("cpu")}
    rows = bench_growth(tiny_dataset, setting, tmp_path, **given)  # type: ignore[arg-type]
    assert [row["name"] for row in rows] == ["osg", "random"]
    for row in rows:
        assert row["keeps_function"] and row["n"] == 2
        assert row["loss_after"] == pytest.approx(row["loss_before"], rel=1e-4)
        assert 20_000 < row["params"] <= 40_000 and row["macs"] > 0
        assert row["grow_peak_over_training"] is None or row["grow_peak_over_training"] > 0
        assert row["accuracy"] == pytest.approx(sum(cell["accuracy"] for cell in row["cells"]) / 2)
    # The same seed network for both growers, and nothing is done twice.
    assert rows[0]["cells"][1]["loss_before"] == rows[1]["cells"][1]["loss_before"]
    monkeypatch.setattr(growth, "grow", None)
    assert bench_growth(tiny_dataset, setting, tmp_path, **given) == rows  # type: ignore[arg-type]


def test_one_seed_has_no_spread() -> None:
    cell: Dict[str, Any] = {"grow_seconds": 1.0, "loss_before": 2.0, "loss_after": 2.0, "accuracy": 0.5, "params": 10, "macs": 20}
    cell.update(seconds=3.0, grow_peak_over_training=None)
    row = summary("osg", [cell])
    assert row["accuracy"] == 0.5 and row["accuracy_sd"] is None and row["grow_peak_over_training"] is None
    assert summary("osg", [cell, {**cell, "accuracy": 0.7}])["accuracy_sd"] == pytest.approx(0.1414, abs=1e-4)
