"""The harness is not installed: it is found from the repository's root."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Callable, Dict, Sequence

import pytest

ROOT = Path(__file__).resolve().parents[3]
if str(ROOT) not in sys.path:
    sys.path.append(str(ROOT))

MakeResult = Callable[..., Dict[str, Any]]


def _phase(name: str, kind: str, views: int, epochs: int, seconds: float, images: int) -> Dict[str, Any]:
    keeps = {"seed": "seed", "regrow": "grown", "era": "robust", "clean": "clean"}.get(name)
    spent = {"cpu_seconds": 0.9 * seconds, "peak_memory_mb": 100.0 + seconds, "joules": None}
    return {
        "name": name,
        "kind": kind,
        "keeps": keeps,
        "views": views,
        "epochs": epochs,
        "seconds": seconds,
        "images": images,
        **spent,
    }


@pytest.fixture
def make_result() -> MakeResult:
    """Contents of a result.json: phases are (name, kind, views, epochs, seconds, images); MACs by phase."""

    def make(
        phases: Sequence[Sequence[Any]] = (("clean", "train", 1, 4, 40.0, 400),),
        macs: Any = None,
        clean: float = 0.8,
        robust: float = 0.7,
        params: int = 1000,
    ) -> Dict[str, Any]:
        macs = macs or {"seed": 10, "regrow": 100, "era": 100, "clean": 100}
        records = [_phase(*phase) for phase in phases]
        report = {"clean": clean, "robust": robust, "per_corruption": {"fog": [robust, robust + 0.1]}, "kind": "generated"}
        networks = [
            {
                "name": record["keeps"],
                "phase": record["name"],
                "params": params if record["name"] != "seed" else 50,
                "macs": macs.get(record["name"]),
                "widths": [8, 16],
                "clean_accuracy": clean,
                "robust_accuracy": robust,
                "robustness": report,
            }
            for record in records
            if record["keeps"]
        ]
        return {
            "clean_accuracy": clean,
            "robust_accuracy": robust,
            "networks": networks,
            "phases": records,
            "preset": "paper",
            "engine": {"runtime": "onnxruntime", "version": "1", "threads": 1, "latency_ms_p50": 0.5},
            "dataset": {"name": "cifar", "source": "/somewhere/private", "n_train": 100, "n_test": 20, "notes": []},
            "versions": {"gearnn": "0.1.0", "torch": "2.0"},
            "device": {"name": "a CPU", "cores": 2, "platform": "Linux", "threads": 1, "training_device": "cpu"},
        }

    return make
