from __future__ import annotations

import json
import threading
import time

import pytest

from gearnn.engine.errors import EngineError
from gearnn.engine.power import PowerSampler, integrate
from gearnn.engine.rails import Meter


def watts(total="VDD_IN", read=dict):
    return Meter("a test", total, False, read, {})


@pytest.mark.gpu
def test_a_gpu_at_work_takes_energy():
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    matrix = torch.randn(2048, 2048, device="cuda")
    with PowerSampler() as sampler:
        end = time.monotonic() + 1
        while time.monotonic() < end:
            matrix @ matrix
            torch.cuda.synchronize()
    assert sampler.energy.joules is not None, sampler.energy.reason
    assert 1 < sampler.energy.mean_watts < 2000
    assert sampler.energy.joules == pytest.approx(sampler.energy.mean_watts * sampler.energy.seconds)


def test_the_trapezoidal_rule_over_uneven_moments():
    samples = [
        (0.0, {"VDD_IN": 4.0, "VDD_SOC": 1.0}),
        (1.0, {"VDD_IN": 8.0, "VDD_SOC": 1.0}),
        (4.0, {"VDD_IN": 2.0, "VDD_SOC": 3.0}),
    ]
    energy = integrate(samples, watts())
    assert energy.joules == pytest.approx(6 + 15)
    assert energy.rails == pytest.approx({"VDD_IN": 21, "VDD_SOC": 7})
    assert (energy.mean_watts, energy.seconds, energy.samples, energy.reason) == (pytest.approx(21 / 4), 4.0, 3, None)
    assert integrate(samples, watts(total="")).joules == pytest.approx(28)
    json.dumps(energy.to_dict(), allow_nan=False)


def test_counters_are_subtracted_also_when_they_start_anew():
    meter = Meter("RAPL", "", True, dict, {"package-0": 100.0})
    samples = [(0.0, {"package-0": 90.0}), (1.0, {"package-0": 99.0}), (2.0, {"package-0": 5.0})]
    assert integrate(samples, meter).joules == pytest.approx(9 + 6)


def test_counters_that_start_anew_nobody_knows_where_give_no_figure():
    meter = Meter("RAPL", "", True, dict, {"package-0": 0.0})
    energy = integrate([(0.0, {"package-0": 90.0}), (1.0, {"package-0": 5.0}), (2.0, {"package-0": 9.0})], meter)
    assert (energy.joules, energy.rails) == (None, {})
    assert "package-0 could not be read" in energy.reason


def test_a_counter_that_was_reset_is_not_taken_for_one_that_ran_full():
    meter = Meter("RAPL", "", True, dict, {"package-0": 262_143.0})
    energy = integrate([(0.0, {"package-0": 500.0}), (1.0, {"package-0": 2.0}), (2.0, {"package-0": 12.0})], meter)
    assert (energy.joules, energy.rails) == (None, {})
    assert "package-0 could not be read" in energy.reason


@pytest.mark.parametrize("nonsense", [float("nan"), float("inf")])
def test_what_is_no_number_is_no_reading(nonsense):
    samples = [(float(second), {"VDD_IN": 4.0, "VDD_SOC": 1.0}) for second in range(101)]
    samples[50] = (50.0, {"VDD_IN": nonsense, "VDD_SOC": 1.0})
    assert integrate(samples, watts()).joules == pytest.approx(400)
    for second in range(10):
        samples[second] = (float(second), {"VDD_IN": 4.0, "VDD_SOC": nonsense})
    energy = integrate(samples, watts())
    assert (set(energy.rails), energy.reason) == ({"VDD_IN"}, "without VDD_SOC, which could not be read all the time")
    json.dumps(energy.to_dict(), allow_nan=False)


def test_rails_within_another_are_not_added():
    meter = Meter("AGX Orin", "", False, dict, {}, within=("VDDQ",))
    reading = {"VIN_SYS_5V0": 5.0, "VDD_CPU_CV": 2.0, "VDDQ": 1.5}
    energy = integrate([(0.0, reading), (2.0, reading)], meter)
    assert energy.joules == pytest.approx(14)
    assert energy.rails["VDDQ"] == pytest.approx(3)
    lost = integrate([(0.0, reading), (2.0, {"VIN_SYS_5V0": 5.0, "VDD_CPU_CV": 2.0})], meter)
    assert (lost.joules, lost.reason) == (14.0, "without VDDQ, which could not be read all the time")


def test_a_rail_that_vanishes():
    samples = [(0.0, {"VDD_IN": 4.0, "VDD_SOC": 1.0}), (1.0, {"VDD_IN": 4.0}), (2.0, {"VDD_IN": 4.0, "VDD_SOC": 1.0})]
    energy = integrate(samples, watts())
    assert (energy.joules, energy.reason) == (8.0, "without VDD_SOC, which could not be read all the time")
    assert set(energy.rails) == {"VDD_IN"}
    assert integrate(samples, watts(total="")).joules is None
    never = integrate([(0.0, {"VDD_SOC": 1.0}), (1.0, {"VDD_SOC": 1.0})], watts())
    assert never.joules is None
    assert never.reason.startswith("not measured: VDD_IN could not be read")
    gone = integrate([(0.0, {"VDD_IN": 4.0}), (1.0, {"VDD_IN": 4.0}), (2.0, {})], watts())
    assert gone.joules is None
    assert integrate([(0.0, {}), (1.0, {}), (2.0, {})], watts(total="")).reason.startswith("not measured: every rail")


def test_a_single_reading_that_failed_is_bridged():
    samples = [(0.1 * number, {"VDD_IN": 3.0 + number % 2}) for number in range(101)]
    samples[50] = (5.0, {})
    energy = integrate(samples, watts())
    assert energy.joules == pytest.approx(35.0 + 0.2 * (4.0 - 3.5))  # the readings at both sides are the higher ones
    assert (energy.samples, energy.reason) == (101, None)
    for number in range(51, 56):
        samples[number] = (0.1 * number, {})
    assert integrate(samples, watts()).joules is None


@pytest.mark.parametrize("samples", [[], [(1.0, {"VDD_IN": 4.0})], [(1.0, {"VDD_IN": 4.0}), (1.0, {"VDD_IN": 4.0})]])
def test_too_few_readings_give_no_figure(samples):
    energy = integrate(samples, watts())
    assert energy.joules is None
    assert "before the meter could be read twice" in energy.reason


def test_samples_at_about_the_stated_rate():
    meter = watts(read=lambda: {"VDD_IN": 5.0})
    with PowerSampler(meter, rate_hz=50) as sampler:
        time.sleep(0.5)
    energy = sampler.energy
    assert energy.joules == pytest.approx(5.0 * energy.seconds)
    assert 0.5 <= energy.seconds < 1.5
    assert 5 <= energy.samples <= 30
    assert (energy.source, energy.rate_hz) == ("a test", 50)


def test_without_a_meter_the_figure_says_why(tmp_path):
    with PowerSampler(root=tmp_path) as sampler:
        pass
    assert sampler.energy.joules is None
    assert sampler.energy.reason.startswith("not measured: no INA3221")


def test_a_meter_that_hangs_gives_no_figure(monkeypatch):
    monkeypatch.setattr("gearnn.engine.power._WAIT", 0.05)
    answers, stuck = [{"VDD_IN": 5.0}], threading.Event()

    def read():
        return answers.pop() if answers else (stuck.wait(5), {"VDD_IN": 5.0})[1]

    with PowerSampler(watts(read=read), rate_hz=100) as sampler:
        time.sleep(0.05)
    stuck.set()
    assert (sampler.energy.joules, sampler.energy.reason) == (None, "not measured: a test does not answer")


def test_an_error_in_the_block_is_not_swallowed_and_the_thread_ends():
    sampler = PowerSampler(watts(read=lambda: {"VDD_IN": 1.0}), rate_hz=100)
    with pytest.raises(ValueError), sampler:
        raise ValueError
    assert sampler._thread is not None
    assert not sampler._thread.is_alive()
    assert sampler.energy.samples >= 2


def test_a_meter_that_raises_is_read_on_and_what_it_missed_is_said():
    calls = []

    def read():
        calls.append(None)
        if len(calls) > 1:
            raise RuntimeError("no answer")
        return {"VDD_IN": 5.0}

    with PowerSampler(watts(read=read), rate_hz=200) as sampler:
        deadline = time.monotonic() + 5
        while len(calls) < 4 and time.monotonic() < deadline:
            time.sleep(0.01)
    assert sampler.energy.samples == len(calls) >= 5
    assert sampler.energy.joules is None
    assert sampler.energy.reason.startswith("not measured: VDD_IN could not be read")


@pytest.mark.parametrize("rate_hz", [0, -20, float("nan"), float("inf")])
def test_a_rate_that_cannot_be_kept_is_refused(rate_hz):
    with pytest.raises(EngineError, match="must be above 0 readings a second"):
        PowerSampler(watts(), rate_hz=rate_hz)
