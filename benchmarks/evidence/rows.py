"""The rows of a table: a preset, what is changed in it, and what it is held against."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Dict, List, Literal, Mapping, Optional, Sequence, Tuple

from gearnn.errors import UserError


@dataclass(frozen=True)
class Equal:
    """The row's epochs are such that it costs as much as another row, of the same seed and data.

    Attributes:
        quantity: seconds of training, or image views × multiply-accumulates of the network that saw them.
        to: the row whose cost is to be met.
        base: the row of the same recipe that tells what its epochs cost: its epochs are scaled by the ratio of the two. None for
            networks of a fixed size that are to cost as much as a grown one: they train on clean images for as long as that one
            took before its robust phase, at the pace that it had once grown.
    """

    quantity: Literal["time", "compute"]
    to: str
    base: Optional[str] = None


@dataclass(frozen=True)
class Row:
    """One way to a network.

    Attributes:
        name: of its folder, and for ``--rows``.
        preset: of ``gearnn run``; its epochs are multiplied by the scale's factor.
        label: for tables.
        options: of ``gearnn run``, without the dashes: {"grower": "firefly", "augmentation.views": "3"}. A limit on the widths
            (``budget.…``) takes the place of the arena's.
        equal: makes the row as dear as another one.
        against: the row that it differs from in one thing, for paired differences.
        sized: False for a network that has its own size, whatever the arena's.
    """

    name: str
    preset: str
    label: str
    options: Mapping[str, str] = field(default_factory=dict)
    equal: Optional[Equal] = None
    against: Optional[str] = None
    sized: bool = True

    @property
    def needs(self) -> Tuple[str, ...]:
        """Rows that have to be finished before this one's epochs are known."""
        return tuple(name for name in (self.equal.base, self.equal.to) if name) if self.equal else ()


_GROWERS: Dict[str, Tuple[str, Dict[str, str]]] = {
    "firefly": ("Firefly (as published)", {"growth.new-candidates": "70"}),
    "gradmax": ("GradMax", {}),
    "variance_transfer": ("variance transfer", {}),
    "net2net": ("Net2Net", {}),
    "random": ("at random", {}),
    "osg": ("osg", {}),
}
_SMALL, _GEARNN_1, _GEARNN_2, _OURS = "small-augmix", "gearnn-1", "gearnn-2", "ours"
# A seed at an eighth of the full widths, whatever the others start from: narrower ones hold growth back.
_OURS_SEED = {"seed-width": "0.125"}
_LEARNT_LIKE_OURS = {
    "init": "identity",
    "standardize": "",
    "optimizer.kind": "muon",
    "optimizer.relative-rate": "0.02",
}

_ROWS: List[Row] = [
    # Networks of the final size from the start.
    Row("small-clean", "small-clean", "small, clean", against=_SMALL),
    Row(_SMALL, "small-augmix", "small, AugMix"),
    Row("small-era", "small-era", "small, ERA", against=_SMALL),
    Row("clean-then-era", "clean-then-era", "small, clean then ERA", against="small-era"),
    Row("clean-then-augmix", "clean-then-augmix", "small, clean then AugMix", against="clean-then-era"),
    Row(
        "clean-then-era-equal-time",
        "clean-then-era",
        "small, clean then ERA, in the time of GEARnn-2",
        equal=Equal("time", _GEARNN_2),
        against=_GEARNN_2,
    ),
    Row("big", "big", "full size, AugMix", against=_SMALL, sized=False),
    # The published recipe; its growth step is that of the product, the published one is gearnn-2-firefly.
    Row(_GEARNN_1, "gearnn-1", "GEARnn-1", against=_GEARNN_2),
    Row(_GEARNN_2, "paper", "GEARnn-2 (published epochs)", against="clean-then-era-equal-time"),
    *(
        Row(f"{_GEARNN_2}-{grower}", "paper", f"GEARnn-2, grown: {label}", {"grower": grower, **options}, against=_GEARNN_2)
        for grower, (label, options) in _GROWERS.items()
    ),
    *(
        Row(f"{_GEARNN_2}-shots-{shots}", "paper", f"GEARnn-2, {shots} growth steps", {"shots": shots}, against=_GEARNN_2)
        for shots in "234"
    ),
    Row(f"{_GEARNN_2}-prime", "paper", "GEARnn-2, PRIME", {"augmentation.kind": "prime"}, against=_GEARNN_2),
    *(
        Row(f"{_GEARNN_2}-views-{views}", "paper", f"GEARnn-2, J = {views}", {"augmentation.views": views}, against=_GEARNN_2)
        for views in "234"
    ),
    *(
        Row(f"{_GEARNN_2}-gamma-{gamma}", "paper", f"GEARnn-2, γ = {gamma}", {"budget.growth-ratio": gamma}, against=_GEARNN_2)
        for gamma in ("0.3", "0.6", "0.9", "1.8")
    ),
    # One phase or two, at the same price.
    *(
        Row(
            f"{_GEARNN_1}-equal-{quantity}",
            "gearnn-1",
            f"GEARnn-1, as much {quantity} as GEARnn-2",
            equal=Equal(quantity, _GEARNN_2, _GEARNN_1),
            against=_GEARNN_2,
        )
        for quantity in ("time", "compute")
    ),
    # The product's recipe, without growth and without each of its parts; and AugMix with what helps it too.
    Row(_OURS, "default", "GEARnn-2 (ours)", _OURS_SEED, against=_SMALL),
    Row(
        "ours-small",
        "default",
        "ours without growth, in the same time",
        {"method": "fixed"},
        equal=Equal("time", _OURS),
        against=_OURS,
    ),
    *(
        Row(f"{_OURS}-{name}", "default", f"ours, {label}", {**_OURS_SEED, **options}, against=_OURS)
        for name, label, options in (
            ("without-muon", "SGD", {"optimizer.kind": "sgd"}),
            ("without-identity", "He et al.'s initialisation", {"init": "he"}),
            ("without-standardize", "images not standardized", {"no-standardize": ""}),
            ("without-hold", "a cosine per phase", {"optimizer.schedule": "phase"}),
            ("random", "grown at random", {"grower": "random"}),
            ("views-4", "J = 4 with the clean view", {"augmentation.views": "4", "augmentation.clean-view": ""}),
        )
    ),
    Row("small-augmix-ours", _SMALL, "small, AugMix, learnt like ours", _LEARNT_LIKE_OURS, against=_SMALL),
]

ROWS: Dict[str, Row] = {row.name: row for row in _ROWS}


def rows_named(names: Sequence[str]) -> Tuple[Row, ...]:
    """The rows of these names and those they need, in the order given; "all" stands for every row.

    Raises:
        UserError: for a name that no row has.
    """
    found: Dict[str, Row] = {}
    for name in ROWS if "all" in names else names:
        if name not in ROWS:
            raise UserError(f"there is no row called {name!r}: choose from {', '.join(ROWS)}, or all")
        for needed in (*ROWS[name].needs, name):
            found[needed] = ROWS[needed]
    return tuple(found.values())
