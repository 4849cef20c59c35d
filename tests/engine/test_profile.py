from __future__ import annotations

import os
import sys
import time
import types
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from gearnn.engine.errors import EngineError
from gearnn.engine.profile import DeviceMemory, device_memory, measure_energy, profile_latency, resident_mb
from gearnn.engine.rails import Meter
from gearnn.engine.runtimes import load_runtime
from gearnn.engine.runtimes.base import Runtime


class Sleeper(Runtime):
    """Takes the time it is told, call by call, and keeps what it was given."""

    name = "sleeper"

    def __init__(self, milliseconds=(2.0,), shape=(None, 3, 8, 8), dtype=np.float32):
        super().__init__(Path("sleeper"), "1.0", 1, shape, np.dtype(dtype))
        self.milliseconds, self.seen = milliseconds, []

    @classmethod
    def load(cls, path, threads=None):
        return cls()

    def _run(self, images):
        time.sleep(self.milliseconds[len(self.seen) % len(self.milliseconds)] / 1e3)
        self.seen.append(images)
        return images.reshape(len(images), -1)[:, :2]

    def close(self):
        pass


def test_percentiles_and_throughput():
    (latency,) = profile_latency(Sleeper((2.0, 2.0, 2.0, 30.0)), (4,), iterations=40, warmup=0)
    assert 2 <= latency.p50_ms < 15 < 30 <= latency.p90_ms <= latency.p99_ms
    mean = 9e-3
    assert 4 / mean / 3 < latency.images_per_s <= 4 / mean


def test_conditions_come_with_the_numbers(onnx_file):
    with load_runtime(onnx_file, threads=1) as runtime:
        first, second = profile_latency(runtime, (1, 8), iterations=30, seed=5)
        assert (first.batch, second.batch) == (1, 8)
        assert {
            "runtime": "onnxruntime",
            "version": runtime.version,
            "threads": 1,
            "seed": 5,
            "iterations": 30,
        }.items() <= asdict(first).items()
    assert 0 < first.p50_ms <= first.p90_ms <= first.p99_ms


def test_counts_calls_and_draws_images_from_the_seed():
    one, same, other = Sleeper((0,)), Sleeper((0,)), Sleeper((0,))
    for runtime, seed in ((one, 3), (same, 3), (other, 4)):
        profile_latency(runtime, (2, 5), iterations=6, warmup=4, seed=seed)
    assert [len(images) for images in one.seen] == [2] * 10 + [5] * 10
    for a, b, c in zip(one.seen, same.seen, other.seen):
        assert a.dtype == np.float32 and 0 <= a.min() < 0.2 < 0.8 < a.max() <= 1
        np.testing.assert_array_equal(a, b)
        assert not np.array_equal(a, c)


def test_ends_when_the_time_is_up():
    start = time.perf_counter()
    (latency,) = profile_latency(Sleeper((10.0,)), (1,), iterations=10_000, warmup=10_000, max_seconds=0.1)
    assert 1 <= latency.iterations <= 10
    assert time.perf_counter() - start < 2
    (latency,) = profile_latency(Sleeper((10.0,)), (1,), max_seconds=0)
    assert latency.iterations == 1


@pytest.mark.parametrize(("batch_sizes", "iterations"), [((0,), 5), ((1, -3), 5), ((1,), 0)])
def test_refuses_less_than_one(batch_sizes, iterations):
    with pytest.raises(EngineError, match="must be at least 1"):
        profile_latency(Sleeper(), batch_sizes, iterations=iterations)


def test_refuses_an_open_image_size():
    with pytest.raises(EngineError, match="leaves its image size open"):
        profile_latency(Sleeper(shape=(None, 3, None, None)))


def test_pixels_for_networks_that_take_pixels():
    runtime = Sleeper(shape=(None, 8, 8, 3), dtype=np.uint8)
    profile_latency(runtime, (2,), iterations=2, warmup=0)
    assert (runtime.seen[0].dtype, runtime.seen[0].shape) == (np.uint8, (2, 8, 8, 3))
    assert runtime.seen[0].max() > 200


def test_device_time_where_the_runtime_knows_it():
    class OnDevice(Sleeper):
        def device_seconds(self, images):
            return 0.0015 * len(images)

    (latency,) = profile_latency(OnDevice(), (2,), iterations=3, warmup=0)
    assert (latency.device_p50_ms, latency.device_p99_ms) == (pytest.approx(3.0), pytest.approx(3.0))
    (latency,) = profile_latency(Sleeper(), (2,), iterations=3, warmup=0)
    assert (latency.device_p50_ms, latency.device_p90_ms, latency.device_p99_ms) == (None, None, None)


def test_percentiles_on_the_device():
    class OnDevice(Sleeper):
        calls = 0

        def device_seconds(self, images):
            self.calls += 1
            return 0.009 if self.calls % 5 == 0 else 0.001

    runtime = OnDevice((0,))
    (latency,) = profile_latency(runtime, (1,), iterations=50, warmup=0)
    assert latency.device_p50_ms == pytest.approx(1.0)
    assert latency.device_p90_ms == latency.device_p99_ms == pytest.approx(9.0)
    assert runtime.calls == 51


def test_progress_is_told_between_batch_sizes():
    told = []
    profile_latency(Sleeper((0,)), (1, 2), iterations=2, warmup=0, progress=lambda *said: told.append(said))
    assert told == [("timing batch sizes", 0, 2), ("timing batch sizes", 1, 2), ("timing batch sizes", 2, 2)]


def five_watts(root):
    meter = Meter("a test", "VDD_IN", False, lambda: {"VDD_IN": 5.0, "VDD_SOC": 2.0}, {})
    return meter, meter.source


def test_energy_per_image(monkeypatch):
    monkeypatch.setattr("gearnn.engine.power.find_meter", five_watts)
    runtime = Sleeper((5.0,))
    use = measure_energy(runtime, 4, seconds=0.3)
    assert use.mean_watts == pytest.approx(5.0)
    assert use.inferences == len(runtime.seen) - 1
    assert use.joules_per_image == pytest.approx(5.0 * use.seconds / (4 * use.inferences))
    assert use.rails["VDD_SOC"] == pytest.approx(0.4 * use.joules_per_image)
    assert (use.source, use.rate_hz, use.remark) == ("a test", 20.0, None)
    assert use.samples >= 4


def test_energy_that_cannot_be_measured_says_why(tmp_path):
    runtime = Sleeper((0,))
    use = measure_energy(runtime, root=tmp_path)
    assert (use.joules_per_image, use.mean_watts, use.inferences, runtime.seen) == (None, None, 0, [])
    assert use.source.startswith("not measured: no INA3221")


def test_memory_on_the_device(monkeypatch):
    assert device_memory(Sleeper()).source.startswith("not measured: the processor executes")
    runtime = Sleeper()
    runtime.device = "Orin"
    fake = types.ModuleType("pynvml")
    fake.nvmlInit = lambda: None
    fake.nvmlDeviceGetCount = lambda: 1
    fake.nvmlDeviceGetHandleByIndex = lambda index: index
    processes = [
        types.SimpleNamespace(pid=os.getpid(), usedGpuMemory=150_000_000),
        types.SimpleNamespace(pid=1, usedGpuMemory=9e9),
    ]
    fake.nvmlDeviceGetComputeRunningProcesses = lambda handle: processes
    monkeypatch.setitem(sys.modules, "pynvml", fake)
    assert device_memory(runtime) == DeviceMemory(150.0, "NVML, of this process")
    del processes[0]
    assert device_memory(runtime).source.startswith("not measured: NVML does not list this process")
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert device_memory(runtime) == DeviceMemory(None, "not measured: nvidia-ml-py is not installed")


def test_resident_memory_is_in_megabytes():
    before = resident_mb()
    block = np.random.default_rng(0).random(5_000_000)  # above 32 MiB, where malloc never takes freed memory again
    assert 38 < resident_mb() - before < 48
    assert resident_mb(peak=True) >= resident_mb()
    assert block.size
