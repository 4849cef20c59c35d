"""Energy of a piece of work, from the device's own meter, read at a stated rate.

Power is integrated by the trapezoidal rule over the moments at which it was read; counters of energy are subtracted. What the
device draws when idle is part of the figure: nothing is taken off.
"""

from __future__ import annotations

import math
import threading
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Callable, Dict, Iterable, Optional, Tuple, Type

from gearnn.engine.errors import EngineError
from gearnn.engine.rails import Meter, find_meter

__all__ = ["Energy", "Meter", "PowerSampler", "find_meter", "integrate"]

RATE_HZ = 20.0
"""Readings a second; an INA3221 as Jetsons set it up converts its channels no more than some hundred times a second."""
_WAIT = 5.0  # seconds for the thread to end
_MISSED = 0.05  # of the time: a rail that could not be read for longer does not count

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

    Without a meter it does nothing, and the figure says why. Readings are added up as they come: hours take no more memory than
    seconds.

    Args:
        meter: as from `find_meter`; None to look for one.
        rate_hz: readings a second, more than 0.
        clock: seconds; another one in tests.
        root: where a meter is looked for.

    Raises:
        EngineError: for a rate that is not above 0.
    """

    def __init__(
        self,
        meter: Optional[Meter] = None,
        rate_hz: float = RATE_HZ,
        clock: Callable[[], float] = time.perf_counter,
        root: Path = Path("/"),
    ) -> None:
        if not (rate_hz > 0 and math.isfinite(rate_hz)):
            raise EngineError(f"the rate at which power is read must be above 0 readings a second, not {rate_hz:g}")
        self._meter, self._source = (meter, meter.source) if meter is not None else find_meter(root)
        self._rate, self._clock = rate_hz, clock
        self._stop = threading.Event()
        self._thread: Optional[threading.Thread] = None
        self.energy = Energy(None, None, 0.0, 0, rate_hz, self._source, {}, self._source)

    def __enter__(self) -> PowerSampler:
        if self._meter is not None:
            self._stop.clear()
            self._sum = _Sum(self._meter)
            self._sum.add(self._sample(self._meter))
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
        if self._thread.is_alive():
            self.energy = replace(self.energy, reason=f"not measured: {self._source} does not answer")
            return
        self._sum.add(self._sample(self._meter))
        self.energy = self._sum.energy(self._rate)

    def _sample(self, meter: Meter) -> Sample:
        when = self._clock()
        try:
            return when, meter.read()
        except Exception:  # drivers' errors share no base class, and the thread must live on: a moment without a reading
            return when, {}

    def _keep_reading(self) -> None:
        assert self._meter is not None
        while not self._stop.wait(1 / self._rate):
            self._sum.add(self._sample(self._meter))


def integrate(samples: Iterable[Sample], meter: Meter, rate_hz: float = RATE_HZ) -> Energy:
    """Energy between the first and the last of some readings of a meter.

    A rail counts if the first and the last reading have it, and those between that do not leave at most a twentieth of the time
    to bridge; what is not a finite number is no reading. A cumulative one may have started anew between two readings; one that
    goes back in another way, as after a suspend, does not count.
    """
    total = _Sum(meter)
    for sample in samples:
        total.add(sample)
    return total.energy(rate_hz)


@dataclass
class _Rail:
    """Attributes: when, value: of its last reading; number: that reading's; joules; missed: seconds bridged; lost: for good."""

    when: float
    value: float
    number: int
    joules: float = 0.0
    missed: float = 0.0
    lost: bool = False


class _Sum:
    """Readings added up as they come."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter
        self._count = 0
        self._first = self._last = 0.0
        self._rails: Dict[str, _Rail] = {}

    def add(self, sample: Sample) -> None:
        when, reading = sample
        self._first, self._last = (when if self._count == 0 else self._first), when
        for name, value in reading.items():
            if not math.isfinite(value):
                continue
            rail = self._rails.get(name)
            if rail is None:
                self._rails[name] = _Rail(when, value, self._count, lost=self._count > 0)
                continue
            if self._meter.cumulative:
                used, range_ = value - rail.value, self._meter.wraps.get(name, 0.0)
                rail.joules += used if used >= 0 else used + range_
                rail.lost |= used < 0 and not 0 <= used + range_ <= range_ / 2  # half a range is minutes of work
            else:
                rail.joules += (when - rail.when) * (rail.value + value) / 2
            rail.missed += when - rail.when if self._count > rail.number + 1 else 0.0
            rail.when, rail.value, rail.number = when, value, self._count
        self._count += 1

    def energy(self, rate_hz: float) -> Energy:
        meter, seconds = self._meter, self._last - self._first
        nothing = Energy(None, None, seconds, self._count, rate_hz, meter.source, {})
        if self._count < 2 or seconds <= 0:
            return replace(nothing, reason="not measured: it was over before the meter could be read twice")
        steady = {name: rail.joules for name, rail in self._rails.items() if self._follows(rail, seconds)}
        lost = [name for name in sorted(self._rails) if name not in steady]
        if meter.total and meter.total not in steady:
            return replace(nothing, reason=f"not measured: {meter.total} could not be read all the time")
        parts = [name for name in self._rails if name not in meter.within]
        if not meter.total and (not steady or any(name in lost for name in parts)):
            missing = ", ".join(lost) or "every rail"
            return replace(nothing, reason=f"not measured: {missing} could not be read all the time, and the total is the sum")
        joules = steady[meter.total] if meter.total else sum(steady[name] for name in parts)
        remark = f"without {', '.join(lost)}, which could not be read all the time" if lost else None
        return replace(nothing, joules=joules, mean_watts=joules / seconds, rails=steady, reason=remark)

    def _follows(self, rail: _Rail, seconds: float) -> bool:
        return not rail.lost and rail.number == self._count - 1 and rail.missed <= _MISSED * seconds
