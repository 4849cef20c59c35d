"""The soak's own logic, and a short one."""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import sys
import threading
import time
from pathlib import Path
from types import ModuleType
from typing import Any, Dict, List

import pytest

from gearnn.config import Epochs, RunConfig
from gearnn.progress import Progress


@pytest.fixture(scope="module")
def soak() -> ModuleType:
    path = Path(__file__).resolve().parents[2] / "benchmarks" / "soak.py"
    spec = importlib.util.spec_from_file_location("soak", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["soak"] = module
    spec.loader.exec_module(module)
    return module


def _samples(soak: ModuleType, memory: List[float], descriptors: List[int], threads: List[int]) -> List[object]:
    return [soak.Sample(float(i), *values) for i, values in enumerate(zip(memory, descriptors, threads))]


def test_a_leak_is_told_from_ups_and_downs(soak: ModuleType) -> None:
    warm_up, waves, same = [50.0] * 10, [100.0, 110.0, 103.0] * 10, [10, 12, 11] * 13 + [10]
    assert soak.verdict(_samples(soak, warm_up + waves, same, same), 10)["passed"]
    leak = [value * (1 + 0.002 * i) for i, value in enumerate(waves)]
    found = soak.verdict(_samples(soak, warm_up + leak, same, same), 10)
    assert not found["passed"]
    assert 0.02 < found["drift"] < 0.06
    once, kept = [*same[:-1], 13], [*same[:25], *(count + 1 for count in same[25:])]
    for which, columns in (("descriptors", (kept, same)), ("threads", (same, kept))):
        found = soak.verdict(_samples(soak, warm_up + waves, *columns), 10)
        assert not found["passed"]
        assert found[which]["median"] == [11, 12]
    found = soak.verdict(_samples(soak, warm_up + waves, once, same), 10)
    assert found["passed"]  # a file that was open at one look
    assert found["descriptors"] == {"median": [11, 11], "most": [12, 13]}
    with pytest.raises(ValueError, match="5 samples after warm-up are too few"):
        soak.verdict(_samples(soak, warm_up + waves, same, same), 35)


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc")
def test_what_a_process_holds_is_seen(soak: ModuleType) -> None:
    before, ended = soak.sample(0.0), threading.Event()
    thread, handle = threading.Thread(target=ended.wait), os.open(os.devnull, os.O_RDONLY)
    thread.start()
    after = soak.sample(1.0)
    ended.set()
    thread.join()
    os.close(handle)
    assert (after.descriptors - before.descriptors, after.threads - before.threads) == (1, 1)
    assert before.resident_mb > 10


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc")
def test_two_more_runs_leave_no_descriptors_and_no_threads(soak: ModuleType, tmp_path: Path) -> None:
    config = dataclasses.replace(soak.CONFIG, limit_train=64, limit_test=20, epochs=Epochs(seed=1, regrow=1, era=1))
    held = []
    for number in range(3):
        soak.run(dataclasses.replace(config, out=tmp_path / str(number)))
        held.append(soak.sample(0.0))
    assert held[2].descriptors <= held[0].descriptors
    assert held[2].threads <= held[0].threads


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc")
def test_one_run_fills_the_time(soak: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def run(config: RunConfig, progress: Progress) -> Dict[str, Any]:
        asked.append(config.budget.train_time)
        for step in range(40):
            progress("era", step, 40)
            time.sleep(0.01)
        return {"phases": [{"name": "era", "epochs": 4, "seconds": 0.4}]}

    monkeypatch.setattr(soak, "run", run)
    monkeypatch.setattr(soak, "SAVED_EVERY", 0.1)
    saved: List[Dict[str, Any]] = []
    found = soak.soak(30, 0.02, soak.LONG, saved.append, many=False)
    assert asked == ["30s"]
    assert (found["kind"], found["runs"], found["phases"]) == ("one run", 1, [["era", 4, 0.4]])
    assert found["warm_up_seconds"] < 0.5 * found["seconds"]
    assert len(saved) > 2
