"""What a run prints at its end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Dict

import pytest

from gearnn.commands.run import summary


def result(images: int, clean: float) -> Dict[str, Any]:
    network = {"label": "grown network", "params": 1234, "clean_accuracy": clean, "robust_accuracy": 0.6}
    return {
        "networks": [{**network, "robustness": {"robust_interval": [0.551, 0.649]}}, {**network, "robustness": {}}],
        "engine": {"runtime": "onnxruntime", "version": "1.2", "threads": 1, "latency_ms_p50": 0.5},
        "dataset": {"n_test": images, "name": "photos"},
        "seconds_total": 60.0,
        "warnings": [],
    }


def test_accuracies_stand_with_their_intervals_and_images() -> None:
    lines = summary(result(49, 35 / 49), "nowhere").splitlines()
    assert "71.4% (58 to 82%, 49 images)" in lines[1] and lines[1].endswith("60.0% (55 to 65%)")
    assert lines[2].endswith(" 60.0%")
    assert lines[1].index("71.4%") == lines[0].index("clean") and lines[1].index("60.0%") == lines[0].index("robust")


def test_too_few_images_are_noted() -> None:
    assert "with 49 test images a difference of one image is 2.0 points" in summary(result(49, 35 / 49), "nowhere")
    many = summary(result(10_000, 0.9), "nowhere")
    assert "difference of one image" not in many and "90.0% (89.4 to 90.6%, 10,000 images)" in many


@pytest.mark.parametrize(
    ("top1", "last"),
    [
        (1.0, "Ready. Next: gearnn bundle '{0}' --out 'my run.zip'"),
        (0.5, "Not ready. The engine computes what torch does: logits"),
    ],
)
def test_the_verdict_and_the_next_step_stand_last(tmp_path: Path, top1: float, last: str) -> None:
    folder = tmp_path / "my run"
    folder.mkdir()
    comparison = {"max_abs": 1e-6, "largest": 5.0, "top1_agreement": top1}
    made = {"clean_accuracy": 0.9, "classes": ["a", "b"], "dataset": {"n_test": 200, "test_counts": [100, 100]}}
    (folder / "result.json").write_text(json.dumps({**made, "engine": {"comparison": comparison}}), encoding="utf-8")
    assert summary(result(200, 0.9), str(folder)).splitlines()[-1].startswith(last.format(folder))
