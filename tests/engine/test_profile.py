from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from gearnn.engine.errors import EngineError
from gearnn.engine.profile import profile_latency, resident_mb
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
    assert latency.device_p50_ms == pytest.approx(3.0)
    (latency,) = profile_latency(Sleeper(), (2,), iterations=3, warmup=0)
    assert latency.device_p50_ms is None


def test_resident_memory_is_in_megabytes():
    before = resident_mb()
    block = np.random.default_rng(0).random(4_000_000)
    assert 30 < resident_mb() - before < 40
    assert resident_mb(peak=True) >= resident_mb()
    assert block.size
