"""How fast a runtime is here: latency percentiles, throughput, memory and energy, with their conditions."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

import numpy as np

from gearnn.engine.errors import EngineError
from gearnn.engine.runtimes.base import Runtime

Progress = Callable[[str, int, int], None]
"""Label, done, total."""


def _silent(label: str, done: int, total: int) -> None:
    """Say nothing."""


@dataclass(frozen=True)
class Latency:
    """Host time of a call at one batch size, array in to array out, and what it was measured under."""

    batch: int
    p50_ms: float
    p90_ms: float
    p99_ms: float
    images_per_s: float
    """Images over the summed time of the calls, made one after the other."""
    iterations: int
    """Timed calls: fewer than asked for if the time was up first."""
    runtime: str
    version: str
    threads: int
    seed: int
    device_p50_ms: Optional[float] = None
    """Time on the device without copies, 50th percentile; None where the host executes."""
    device_p90_ms: Optional[float] = None
    device_p99_ms: Optional[float] = None


@dataclass(frozen=True)
class EnergyUse:
    """Energy of calls made one after the other; what the device draws idle is part of it.

    Attributes:
        batch: images per call.
        joules_per_image: None if nothing could be read.
        mean_watts: over the calls.
        inferences: calls made.
        source: the meter in words, or the reason why there is no figure.
        seconds: that the meter was read for.
        samples: readings made.
        rate_hz: wanted readings a second.
        rails: joules per image of each rail that could be read all the time; some may be part of others.
        remark: what is missing in the figure.
    """

    batch: int
    joules_per_image: Optional[float]
    mean_watts: Optional[float]
    inferences: int
    source: str
    seconds: float = 0.0
    samples: int = 0
    rate_hz: Optional[float] = None
    rails: Dict[str, float] = field(default_factory=dict)
    remark: Optional[str] = None


@dataclass(frozen=True)
class DeviceMemory:
    """Of this process, on the device that executes.

    Attributes:
        mb: in MB (10⁶ bytes); None if it could not be read.
        source: where the figure is from, or why there is none.
    """

    mb: Optional[float]
    source: str


def profile_latency(
    runtime: Runtime,
    batch_sizes: Sequence[int] = (1, 32),
    *,
    iterations: int = 200,
    warmup: int = 20,
    max_seconds: float = 5.0,
    seed: int = 0,
    progress: Progress = _silent,
) -> List[Latency]:
    """Time calls of a runtime on random images in [0, 1], one batch size after the other.

    Args:
        runtime: a loaded network with fixed channels, height and width.
        batch_sizes: images per call.
        iterations: timed calls per batch size, at most; at least one is made.
        warmup: calls before that, not timed.
        max_seconds: ends the warm-up, the timed calls and those timed on the device of each batch size early; a call in progress
            is finished.
        seed: of the images.
        progress: called before each batch size and at the end, never while calls are timed.

    Raises:
        EngineError: for a batch size or a count below 1, or a network with an open height or width.
    """
    if min([*batch_sizes, iterations]) < 1:
        raise EngineError(f"batch sizes and iterations must be at least 1, not {list(batch_sizes)} and {iterations}")
    results = []
    for done, batch in enumerate(batch_sizes):
        progress("timing batch sizes", done, len(batch_sizes))
        images = random_images(runtime, batch, seed)
        if warmup:
            _time_calls(runtime, images, warmup, max_seconds)
        seconds = _time_calls(runtime, images, iterations, max_seconds)
        p50, p90, p99 = (float(value) for value in np.percentile(seconds, (50, 90, 99)) * 1e3)
        throughput = batch * len(seconds) / float(seconds.sum())
        conditions = (runtime.name, runtime.version, runtime.threads, seed)
        device = _device_ms(runtime, images, len(seconds), max_seconds)
        results.append(Latency(batch, p50, p90, p99, throughput, len(seconds), *conditions, *device))
    progress("timing batch sizes", len(batch_sizes), len(batch_sizes))
    return results


def p50_in_turn(
    runtimes: Sequence[Runtime],
    *,
    rounds: int,
    iterations: int,
    warmup: int = 20,
    max_seconds: float = 5.0,
    seed: int = 0,
    pause: float = 0.0,
) -> np.ndarray:
    """Milliseconds (p50) of one image on each network, in turn, since what else a machine does changes by the second.

    Args:
        iterations, warmup, max_seconds, seed: of each turn, as `profile_latency` takes them.
        pause: seconds before a turn.

    Returns:
        float64 (rounds, networks).
    """
    settings: Dict[str, Any] = {"iterations": iterations, "warmup": warmup, "max_seconds": max_seconds, "seed": seed}
    found = np.empty((rounds, len(runtimes)))
    for turn in range(rounds):
        for place, runtime in enumerate(runtimes):
            time.sleep(pause)
            found[turn, place] = profile_latency(runtime, (1,), **settings)[0].p50_ms
    return found


def measure_energy(runtime: Runtime, batch: int = 1, *, seconds: float = 3.0, seed: int = 0, root: Path = Path("/")) -> EnergyUse:
    """Energy per image, from the device's own meter while calls are made for a time.

    Args:
        batch: images per call.
        seconds: a meter is read some twenty times a second: less than a second says little. At least one call is made.
        seed: of the images.
        root: where ``sys`` is mounted; another folder in tests.

    Raises:
        EngineError: as `random_images`.
    """
    from gearnn.engine.power import PowerSampler, find_meter

    meter, source = find_meter(root)
    if meter is None:
        return EnergyUse(batch, None, None, 0, source)
    images, calls = random_images(runtime, batch, seed), 0
    runtime.run(images)
    with PowerSampler(meter) as sampler:
        end = time.perf_counter() + seconds
        while calls == 0 or time.perf_counter() < end:
            runtime.run(images)
            calls += 1
    used = sampler.energy
    conditions = (used.seconds, used.samples, used.rate_hz)
    if used.joules is None:
        return EnergyUse(batch, None, None, calls, used.reason or "not measured", *conditions)
    rails = {name: joules / (calls * batch) for name, joules in used.rails.items()}
    return EnergyUse(batch, used.joules / (calls * batch), used.mean_watts, calls, used.source, *conditions, rails, used.reason)


def random_images(runtime: Runtime, batch: int, seed: int) -> np.ndarray:
    """Images of the kind that a network takes: float32 in [0, 1], or uint8.

    Raises:
        EngineError: if its image size is open.
    """
    shape = tuple(size or 0 for size in runtime.input_shape[1:])
    if 0 in shape:
        raise EngineError(
            f"{runtime.path} leaves its image size open {runtime.input_shape[1:]}: export it for one size to profile it"
        )
    generator = np.random.default_rng(seed)
    if runtime.input_dtype == np.uint8:
        return generator.integers(0, 256, (batch, *shape), dtype=np.uint8)
    return generator.random((batch, *shape), dtype=np.float32)


def resident_mb(peak: bool = False) -> Optional[float]:
    """Resident memory of this process now, or its peak so far, in MB (10⁶ bytes); None where /proc does not tell."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
        line = next(line for line in lines if line.startswith("VmHWM" if peak else "VmRSS"))
        return int(line.split()[1]) * 1024 / 1e6
    except (OSError, StopIteration, ValueError, IndexError):
        return None


def device_memory(runtime: Runtime) -> DeviceMemory:
    """What this process holds on the GPU that executes, by NVML: weights, activations, buffers and CUDA's own context."""
    if runtime.device == "cpu":
        return DeviceMemory(None, "not measured: the processor executes, see resident memory")
    try:
        import pynvml

        pynvml.nvmlInit()
        used = 0
        for index in range(pynvml.nvmlDeviceGetCount()):
            for process in pynvml.nvmlDeviceGetComputeRunningProcesses(pynvml.nvmlDeviceGetHandleByIndex(index)):
                used += (process.usedGpuMemory or 0) if process.pid == os.getpid() else 0
    except ImportError:
        return DeviceMemory(None, "not measured: nvidia-ml-py is not installed")
    except Exception as error:  # NVML's errors share no base class with Python's
        return DeviceMemory(None, f"not measured: NVML does not tell ({type(error).__name__}); a Jetson's GPU shares the memory")
    if not used:
        return DeviceMemory(
            None, "not measured: NVML does not list this process, as in containers with process numbers of their own"
        )
    return DeviceMemory(used / 1e6, "NVML, of this process")


def _device_ms(runtime: Runtime, images: np.ndarray, calls: int, max_seconds: float) -> Tuple[float, ...]:
    """50th, 90th and 99th percentile of up to ``calls`` executions on the device; nothing where the host executes."""
    if runtime.device_seconds(images) is None:  # the first is a warm-up, too
        return ()
    taken: List[float] = []
    end = time.perf_counter() + max_seconds
    while len(taken) < calls and (not taken or time.perf_counter() < end):
        seconds = runtime.device_seconds(images)
        if seconds is None:
            return ()
        taken.append(seconds * 1e3)
    return tuple(float(value) for value in np.percentile(taken, (50, 90, 99)))


def _time_calls(runtime: Runtime, images: np.ndarray, count: int, max_seconds: float) -> np.ndarray:
    """Seconds of each of up to ``count`` calls."""
    taken: List[float] = []
    end = time.perf_counter() + max_seconds
    while len(taken) < count:
        start = time.perf_counter()
        if taken and start >= end:
            break
        runtime.run(images)
        taken.append(time.perf_counter() - start)
    return np.array(taken)
