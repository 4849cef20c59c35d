"""Records by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Callable

import pytest

from benchmarks.evidence.cells import cells_of
from benchmarks.evidence.collect import collect, record_of
from benchmarks.evidence.rows import ROWS
from benchmarks.evidence.scales import scale_named
from gearnn.errors import UserError

GROWN = (
    ("seed", "train", 1, 4, 10.0, 400),
    ("growth", "grow", 1, 1, 2.0, 100),
    ("regrow", "train", 1, 4, 36.0, 400),
    ("era", "train", 4, 2, 80.0, 200),
)


def test_a_record_adds_up_its_phases(make_result: Callable[..., Any]) -> None:
    record = record_of("arena", "gearnn-2", 3, make_result(GROWN, robust=0.6), [])
    assert (record.arena, record.row, record.seed) == ("arena", "gearnn-2", 3)
    assert record.train_seconds == 128.0
    assert record.cpu_seconds == pytest.approx(115.2)
    assert (record.images, record.views) == (1100, 900 + 800)
    assert record.peak_memory_mb == 180.0
    assert (record.params, record.macs, record.seed_params) == (1000, 100, 50)
    assert record.latency_ms == 0.5
    assert record.corruptions["fog"] == pytest.approx(0.65)


def test_what_was_not_measured_in_every_phase_is_missing(make_result: Callable[..., Any]) -> None:
    result = make_result(GROWN)
    for phase in result["phases"][1:]:
        phase["joules"] = 5.0
    del result["phases"][0]["cpu_seconds"], result["networks"][-1]["macs"]
    record = record_of("arena", "gearnn-2", 0, result, [])
    assert (record.joules, record.cpu_seconds, record.macs) == (None, None, None)
    result["phases"][0]["joules"] = 1.5
    assert record_of("arena", "gearnn-2", 0, result, []).joules == 16.5


def test_a_baseline_trained_beside_is_no_part_of_it(make_result: Callable[..., Any]) -> None:
    result = make_result()
    result["phases"].append({**result["phases"][0], "name": "baseline", "keeps": "baseline"})
    result["networks"].append({**result["networks"][0], "name": "baseline", "params": 7})
    record = record_of("arena", "small-clean", 0, result, [])
    assert (record.train_seconds, record.params) == (40.0, 1000)


def test_results_of_other_versions_are_named(make_result: Callable[..., Any], tmp_path: Path) -> None:
    scale = scale_named("cpu-small")
    cell = cells_of(scale.arenas, [ROWS["small-clean"]], [0], tmp_path)[0]
    cell.folder.mkdir(parents=True)
    result = make_result()
    del result["networks"][0]["robustness"]
    (cell.folder / "result.json").write_text(json.dumps(result))
    with pytest.raises(UserError, match="lacks 'robustness'"):
        collect(cell)
