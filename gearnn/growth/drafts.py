"""Channel groups in the making, and the channels of a value made of them."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Dict, List, Optional, Sequence, Tuple

from gearnn.growth.graph import ChannelGroup, Span


@dataclass
class Draft:
    """A group in the making; ``parent`` leads to the one it was merged into."""

    width: int
    order: int
    members: Dict[str, List[str]] = field(
        default_factory=lambda: {"producers": [], "norms": [], "followers": [], "consumers": []}
    )
    blocks: List[int] = field(default_factory=list)
    whole: bool = False
    fixed: Optional[str] = None
    parent: Optional[Draft] = None

    def root(self) -> Draft:
        return self if self.parent is None else self.parent.root()


@dataclass(frozen=True)
class Flow:
    """The channels of a value: drafts in order along ``axis``, each channel with ``features`` entries there."""

    drafts: Tuple[Draft, ...]
    axis: int = 1
    features: int = 1

    def width(self) -> int:
        return sum(draft.width for draft in self.drafts)


def union(left: Draft, right: Draft) -> None:
    """Merge two drafts into the earlier one, so that groups keep the order of the forward pass."""
    if left is right:
        return
    left, right = (left, right) if left.order < right.order else (right, left)
    for role, names in right.members.items():
        left.members[role] += names
    left.blocks += right.blocks
    left.whole = left.whole or right.whole
    left.fixed = left.fixed or right.fixed
    right.parent = left


def finished(draft: Draft) -> ChannelGroup:
    block = draft.width if draft.whole else _lcm(draft.blocks)
    members = {role: tuple(dict.fromkeys(names)) for role, names in draft.members.items()}
    return ChannelGroup(members["producers"][0], draft.width, block, draft.whole, **members)


def _lcm(numbers: Sequence[int]) -> int:
    result = 1
    for number in numbers:
        result = result * number // math.gcd(result, number)
    return result


def spans(flow: Flow) -> Tuple[Span, ...]:
    roots = [draft.root() for draft in flow.drafts]
    return tuple(Span(None if root.fixed else root.members["producers"][0], root.width) for root in roots)
