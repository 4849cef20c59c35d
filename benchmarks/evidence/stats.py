"""Means over seeds, and differences between rows, seed by seed."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Dict, Mapping, Optional, Sequence


@dataclass(frozen=True)
class Spread:
    """Mean, standard deviation (of a sample, n − 1; None for one value) and number of values."""

    mean: float
    sd: Optional[float]
    n: int

    def to_dict(self) -> Dict[str, Any]:
        """JSON-ready."""
        return asdict(self)


@dataclass(frozen=True)
class Difference:
    """The mean difference of two rows over the seeds that both have, with its 95 % interval (None for one pair)."""

    mean: float
    sd: Optional[float]
    low: Optional[float]
    high: Optional[float]
    n: int

    def to_dict(self) -> Dict[str, Any]:
        """JSON-ready."""
        return asdict(self)

    @property
    def beyond_chance(self) -> Optional[bool]:
        """Whether the interval leaves out zero; None where there is no interval."""
        return None if self.low is None or self.high is None else not self.low <= 0 <= self.high


def spread(values: Sequence[Optional[float]]) -> Optional[Spread]:
    """Mean and standard deviation; None if a value is missing, or there are none."""
    known = [float(value) for value in values if value is not None]
    if not known or len(known) < len(values):
        return None
    mean = math.fsum(known) / len(known)
    sd = math.sqrt(math.fsum((value - mean) ** 2 for value in known) / (len(known) - 1)) if len(known) > 1 else None
    return Spread(mean, sd, len(known))


def difference(values: Mapping[int, float], reference: Mapping[int, float]) -> Optional[Difference]:
    """Values minus the reference's of the same seed; None if no seed has both.

    The interval is mean ± t · sd / √n, t the 97.5 % quantile of Student's distribution with n − 1 degrees of freedom: 4.30 for
    three seeds. It takes the differences as normally distributed, which so few cannot show.
    """
    seeds = sorted(set(values) & set(reference))
    found = spread([values[seed] - reference[seed] for seed in seeds])
    if found is None:
        return None
    if found.sd is None:
        return Difference(found.mean, None, None, None, found.n)
    half = student(found.n - 1) * found.sd / math.sqrt(found.n)
    return Difference(found.mean, found.sd, found.mean - half, found.mean + half, found.n)


def ratio(values: Mapping[int, Optional[float]], reference: Mapping[int, Optional[float]]) -> Optional[Spread]:
    """Values over the reference's of the same seed; None if one was not measured."""
    pairs = [(values[seed], reference[seed]) for seed in sorted(set(values) & set(reference))]
    return spread([None if value is None or not against else value / against for value, against in pairs])


def student(degrees: int) -> float:
    """The 97.5 % quantile of Student's t."""
    from scipy.special import stdtrit

    return float(stdtrit(degrees, 0.975))
