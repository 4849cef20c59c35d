"""Growth in several steps: who judges them, when they no longer pay, and what they add up to."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, Dict, List, Mapping, Sequence, Tuple

import numpy as np

from gearnn.config import Budget
from gearnn.errors import UserError


def hold_out(labels: np.ndarray, fraction: float, key: int) -> Tuple[np.ndarray, np.ndarray]:
    """Split training images into those that are trained on and those that judge growth, class by class.

    Args:
        labels: int64 (N,).
        fraction: of each class to hold out; one image of a class at least, where it has two.
        key: decides which.

    Returns:
        Two sorted int64 arrays of indices.

    Raises:
        UserError: if no class has two images.
    """
    draw = np.random.Generator(np.random.Philox(key=key))
    held: List[np.ndarray] = []
    for label in np.unique(labels):
        members = draw.permutation(np.flatnonzero(labels == label))
        held.append(members[: min(max(1, round(fraction * len(members))), len(members) - 1)])
    out = np.sort(np.concatenate(held))
    if not len(out):
        raise UserError(
            "--shots auto needs two training images of a class, to hold one out: give more images, or a number of shots"
        )
    return np.setdiff1d(np.arange(len(labels)), out), out


def gain_per_doubling(before: float, after: float, usage: Sequence[Mapping[str, Any]]) -> float:
    """Percentage points of accuracy that a growth step added per doubling of the budgeted cost.

    Args:
        before, after: accuracies of the network before the step and once it was trained on, as fractions.
        usage: of the step's decision: ``before``, ``after`` and ``limit`` of each budgeted quantity; the fullest counts.
    """
    fullest = max(usage, key=lambda one: float(one["after"]) / float(one["limit"]))
    doublings = math.log2(float(fullest["after"]) / float(fullest["before"]))
    return 100 * (after - before) / doublings if doublings > 0 else -math.inf


def remaining(budget: Budget, steps: Sequence[Mapping[str, Any]]) -> Budget:
    """The budget as a network sees it that has taken ``steps`` already: its growth ratio still counts from the seed network."""
    if budget.growth_ratio is None or not steps:
        return budget
    first, last = (next(one for one in step["budget"] if one["name"] == "summed widths") for step in (steps[0], steps[-1]))
    ratio = (1 + budget.growth_ratio) * float(first["before"]) / float(last["after"]) - 1
    return replace(budget, growth_ratio=ratio + 1e-9)  # limits are whole numbers: none may be lost to rounding


def merged(steps: Sequence[Mapping[str, Any]]) -> Dict[str, Any]:
    """Several decisions as one: widths and costs from before the first to after the last, neurons and scores added up.

    ``steps`` are as `gearnn.growth.Growth.to_dict` gives them, each of the network that the one before it led to; with more than
    one they stay in the result under "steps". One that did not pay was taken back: it stays there, but adds nothing.
    """
    taken = [step for step in steps if step.get("pays", True)]
    if len(steps) == len(taken) == 1:
        return dict(steps[0])
    layers: Dict[str, Dict[str, Any]] = {}
    for step in steps:
        for layer in step["layers"]:
            blank = {**layer, "after": layer["before"], "split": 0, "new": 0, "score": 0.0, "cost": {}}
            found = layers.setdefault(layer["name"], blank)
            if not step.get("pays", True):
                continue
            found["after"] = layer["after"]
            for name in ("split", "new", "score"):
                found[name] += layer[name]
            for name, value in layer["cost"].items():
                found["cost"][name] = found["cost"].get(name, 0.0) + value
    began = {usage["name"]: usage["before"] for usage in steps[0]["budget"]}
    last: Mapping[str, Any] = taken[-1] if taken else {**steps[0], "checks": [], "output_difference": None}
    budget = [
        {**usage, "before": began[usage["name"]], "after": usage["after" if taken else "before"]} for usage in last["budget"]
    ]
    bound = last["bound_by"] if len(taken) == len(steps) else "gain"
    whole = {"budget": budget, "bound_by": bound, "layers": list(layers.values()), "steps": [dict(step) for step in steps]}
    return {**last, **whole}
