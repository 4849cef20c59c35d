from __future__ import annotations

import time
from typing import Dict

import numpy as np
import pytest
import torch

from gearnn import metering as module
from gearnn.engine.power import PowerSampler
from gearnn.engine.rails import Meter
from gearnn.metering import metered, metering

CPU = torch.device("cpu")


@pytest.fixture()
def five_watts(monkeypatch: pytest.MonkeyPatch) -> None:
    meter = Meter("a test", "VDD_IN", False, lambda: {"VDD_IN": 5.0}, {})
    monkeypatch.setattr(module, "PowerSampler", lambda: PowerSampler(meter, rate_hz=100))


def test_energy_and_memory_add_up_over_blocks(five_watts: None) -> None:
    spent: Dict[str, float] = {}
    start = time.perf_counter()
    for _ in range(2):
        with metering(spent, CPU):
            time.sleep(0.05)
            block = np.random.default_rng(0).random(1000)
    taken = time.perf_counter() - start
    assert block.size
    found = metered(spent)
    assert 5 * 0.1 <= found["joules"] <= 5 * taken
    assert found["peak_memory_mb"] > 10


def test_a_phase_that_was_not_followed_throughout_has_no_figure(five_watts: None, monkeypatch: pytest.MonkeyPatch) -> None:
    spent: Dict[str, float] = {}
    with metering(spent, CPU):
        time.sleep(0.02)
    monkeypatch.setattr("gearnn.engine.power.find_meter", lambda root: (None, "not measured: a test"))
    monkeypatch.setattr(module, "PowerSampler", PowerSampler)
    with metering(spent, CPU):
        pass
    assert metered(spent)["joules"] is None
    assert metered({})["joules"] is None


def test_processor_time_is_that_of_work_not_of_waiting() -> None:
    spent: Dict[str, float] = {}
    with metering(spent, CPU):
        time.sleep(0.3)
    waiting = metered(spent)["cpu_seconds"]
    with metering(spent, CPU):
        end = time.process_time() + 0.2
        while time.process_time() < end:
            np.random.default_rng(0).random(1000)
    assert waiting < 0.15
    assert 0.2 <= metered(spent)["cpu_seconds"] - waiting < 0.4
