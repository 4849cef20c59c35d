"""What was offered and what was grown: the readable record of a growth step."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Dict, Tuple, Union

import numpy as np
from torch import Tensor


@dataclass(frozen=True)
class Scores:
    """First-order changes of the loss, one per candidate of a channel group (lower is better).

    Attributes:
        split: float64 (w,), for splitting each existing neuron: a tensor where it was computed, or NumPy.
        new: float64 (K,), for each new neuron, likewise.
    """

    split: Union[Tensor, np.ndarray]
    new: Union[Tensor, np.ndarray]


@dataclass(frozen=True)
class GroupGrowth:
    """One group's growth: widths before and after, the neurons split and the new ones taken (candidate indices).

    ``score`` is the summed first-order change of the loss that the picks promise (negative is better).
    """

    name: str
    before: int
    after: int
    split: Tuple[int, ...]
    new: Tuple[int, ...]
    score: float


@dataclass(frozen=True)
class GrowthDecision:
    """All groups' growth under a budget, counted in ``unit``; ``bound_by`` says what ended it."""

    groups: Tuple[GroupGrowth, ...]
    unit: str
    complexity_before: int
    complexity_after: int
    limit: int
    bound_by: str

    def to_dict(self) -> Dict[str, Any]:
        """JSON-ready: counts of split and new neurons per layer, and the budget."""
        layers = [{**asdict(group), "split": len(group.split), "new": len(group.new)} for group in self.groups]
        budget = {"unit": self.unit, "limit": self.limit}
        return {
            "budget": budget,
            "bound_by": self.bound_by,
            "complexity_before": self.complexity_before,
            "complexity_after": self.complexity_after,
            "layers": layers,
        }
