"""Energy of a piece of work, from the device's own meter, read at a stated rate.

Power is integrated by the trapezoidal rule over the moments at which it was read; counters of energy are subtracted. What the
device draws when idle is part of the figure: nothing is taken off.
"""

from __future__ import annotations

import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Callable, Dict, List, Mapping, Optional, Tuple, Type

from gearnn.engine.rails import Meter, find_meter

__all__ = ["Energy", "Meter", "PowerSampler", "find_meter", "integrate"]

RATE_HZ = 20.0
"""Readings a second; an INA3221 as Jetsons set it up converts its channels no more than some hundred times a second."""
_WAIT = 5.0  # seconds for the thread to end

Sample = Tuple[float, Dict[str, float]]
"""Seconds, and the reading of each rail."""


@dataclass(frozen=True)
class Energy:
    """Of the work between two moments.

    Attributes:
        joules: of the whole; None if it could not be measured.
        mean_watts: over the time.
        seconds: between the first and the last reading.
        samples: readings made.
        rate_hz: wanted readings a second.
        source: the meter in words.
        rails: joules of each rail that could be read from beginning to end.
        reason: why there is no figure, or what is missing in it.
    """

    joules: Optional[float]
    mean_watts: Optional[float]
    seconds: float
    samples: int
    rate_hz: float
    source: str
    rails: Dict[str, float]
    reason: Optional[str] = None

    def to_dict(self) -> Dict[str, Any]:
        """JSON-ready."""
        return asdict(self)


class PowerSampler:
    """Reads a meter in a thread of its own while a ``with`` block runs; afterwards ``energy`` holds the figure.

    Without a meter it does nothing, and the figure says why.

    Args:
        meter: as from `find_meter`; None to look for one.
        rate_hz: readings a second.
        clock: seconds; another one in tests.
        root: where a meter is looked for.
    """

    def __init__(
        self,
        meter: Optional[Meter] = None,
        rate_hz: float = RATE_HZ,
        clock: Callable[[], float] = time.perf_counter,
        root: Path = Path("/"),
    ) -> None:
        self._meter, self._source = (meter, meter.source) if meter is not None else find_meter(root)
        self._rate, self._clock = rate_hz, clock
        self._samples: List[Sample] = []
        self._stop = threading.Event()
        self._thread: Optional[threading.Thread] = None
        self.energy = Energy(None, None, 0.0, 0, rate_hz, self._source, {}, self._source)

    def __enter__(self) -> PowerSampler:
        if self._meter is not None:
            self._stop.clear()
            self._samples = [self._sample(self._meter)]
            self._thread = threading.Thread(target=self._keep_reading, name="gearnn-power", daemon=True)
            self._thread.start()
        return self

    def __exit__(
        self, kind: Optional[Type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        if self._meter is None or self._thread is None:
            return
        self._stop.set()
        self._thread.join(_WAIT)
        self._samples.append(self._sample(self._meter))
        self.energy = integrate(self._samples, self._meter, self._rate)

    def _sample(self, meter: Meter) -> Sample:
        return self._clock(), meter.read()

    def _keep_reading(self) -> None:
        assert self._meter is not None
        while not self._stop.wait(1 / self._rate):
            self._samples.append(self._sample(self._meter))


def integrate(samples: List[Sample], meter: Meter, rate_hz: float = RATE_HZ) -> Energy:
    """Energy between the first and the last of some readings of a meter.

    A rail counts if every reading has it; a cumulative one may have started anew between two readings.
    """
    seconds = samples[-1][0] - samples[0][0] if samples else 0.0
    nothing = Energy(None, None, seconds, len(samples), rate_hz, meter.source, {}, None)
    if len(samples) < 2 or seconds <= 0:
        return _with_reason(nothing, "not measured: it was over before the meter could be read twice")
    names = set(samples[0][1])
    steady = [name for name in samples[0][1] if all(name in reading for _, reading in samples)]
    rails = {name: _joules([(when, reading[name]) for when, reading in samples], meter, name) for name in steady}
    lost = sorted((names | {name for _, reading in samples for name in reading}) - set(steady))
    if not rails or (meter.total and meter.total not in rails):
        return _with_reason(nothing, f"not measured: {meter.total or 'every rail'} could not be read all the time")
    if lost and not meter.total:
        return _with_reason(
            nothing, f"not measured: {', '.join(lost)} could not be read all the time, and the total is the sum of all"
        )
    joules = rails[meter.total] if meter.total else sum(rails.values())
    remark = f"without {', '.join(lost)}, which could not be read all the time" if lost else None
    return Energy(joules, joules / seconds, seconds, len(samples), rate_hz, meter.source, rails, remark)


def _joules(readings: List[Tuple[float, float]], meter: Meter, name: str) -> float:
    pairs = zip(readings, readings[1:])
    if not meter.cumulative:
        return sum((later - earlier) * (before + after) / 2 for (earlier, before), (later, after) in pairs)
    return sum(_counted(after - before, meter.wraps, name) for (_, before), (_, after) in pairs)


def _counted(difference: float, wraps: Mapping[str, float], name: str) -> float:
    return difference + wraps.get(name, 0.0) if difference < 0 else difference


def _with_reason(energy: Energy, reason: str) -> Energy:
    return Energy(None, None, energy.seconds, energy.samples, energy.rate_hz, energy.source, {}, reason)
