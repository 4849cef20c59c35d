"""What was offered and what was grown: the readable record of a growth step."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Dict, Tuple, Union

import numpy as np
from torch import Tensor


@dataclass(frozen=True)
class Scores:
    """Changes of the loss, one per candidate of a channel group (lower is better); their number says how many are offered.

    Attributes:
        split: float (w,) or (0,), for splitting each existing neuron: a tensor where it was computed, or NumPy.
        new: float (K,), for each new neuron, likewise.
    """

    split: Union[Tensor, np.ndarray]
    new: Union[Tensor, np.ndarray]


@dataclass(frozen=True)
class GroupGrowth:
    """One group's growth.

    Attributes:
        name, before, after: the group and its widths.
        split, new: the neurons split and the new ones taken (candidate indices).
        score: the summed change of the loss that the picks promise (negative is better).
        cost: what its growth adds to each budgeted quantity, with all other groups as grown.
    """

    name: str
    before: int
    after: int
    split: Tuple[int, ...]
    new: Tuple[int, ...]
    score: float
    cost: Dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Usage:
    """One limit of the budget, what the network took of it before, and what it takes now."""

    name: str
    unit: str
    before: float
    after: float
    limit: float


@dataclass(frozen=True)
class GrowthDecision:
    """All groups' growth under a budget; ``bound_by`` names the limit that ended it, or "candidates" if they were used up."""

    groups: Tuple[GroupGrowth, ...]
    usage: Tuple[Usage, ...]
    bound_by: str

    def group(self, name: str) -> GroupGrowth:
        return next(group for group in self.groups if group.name == name)

    def widths(self) -> Dict[str, int]:
        """Group name → its width after growth."""
        return {group.name: group.after for group in self.groups}

    def to_dict(self) -> Dict[str, Any]:
        """JSON-ready: per layer before, after, counts of splits and new neurons, score and cost; and the budget."""
        layers = [{**asdict(group), "split": len(group.split), "new": len(group.new)} for group in self.groups]
        return {"budget": [asdict(usage) for usage in self.usage], "bound_by": self.bound_by, "layers": layers}
