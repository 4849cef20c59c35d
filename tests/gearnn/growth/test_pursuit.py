"""Marginal gains equal those of solving the least-squares problem anew for every set of candidates."""

from __future__ import annotations

from typing import List, Tuple

import pytest
import torch
from torch import Tensor

from gearnn.growth.pursuit import RIDGE, Evidence, marginal_gains


def _evidence(channels: int, seed: int, outputs: int = 5) -> Tuple[Evidence, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(200, channels, generator=generator, dtype=torch.float64) + 0.5
    features[:, -1] = features[:, -2] + 0.1 * features[:, -1]  # nearly the same thing twice
    gradients = torch.randn(channels, outputs, generator=generator, dtype=torch.float64)
    return Evidence(gradients @ gradients.t(), features.t() @ features / 200), gradients, features


def _taken_off(evidence: Evidence, gradients: Tensor, chosen: List[int]) -> float:
    """tr(G S⁻¹ Gᵀ) of some channels together."""
    gram = evidence.gram + torch.diag(RIDGE * evidence.gram.diagonal())
    part = gradients[chosen]
    return float((part * torch.linalg.solve(gram[chosen][:, chosen], part)).sum())


def test_gains_are_what_each_candidate_adds_to_those_before_it() -> None:
    evidence, gradients, _ = _evidence(9, seed=0)
    existing, candidates = [0, 4, 6], [1, 2, 3, 5, 7, 8]
    gains = marginal_gains([evidence], [torch.tensor(existing)], [torch.tensor(candidates)])
    known, ceiling = list(existing), float("inf")
    for _ in candidates:
        before = _taken_off(evidence, gradients, known)
        added = {c: _taken_off(evidence, gradients, [*known, c]) - before for c in candidates if c not in known}
        best = max(added, key=lambda c: added[c])
        ceiling = min(ceiling, added[best])  # a candidate never counts more than those before it
        assert gains[candidates.index(best)].item() == pytest.approx(ceiling, rel=1e-6)
        known.append(best)
    assert gains.max() > 3 * gains.min() > 0


def test_what_existing_channels_say_counts_for_nothing() -> None:
    evidence, _, features = _evidence(6, seed=1)
    gradients = features.t() @ torch.randn(200, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    evidence = Evidence(gradients @ gradients.t(), evidence.gram)
    alone = marginal_gains([evidence], [torch.tensor([0])], [torch.tensor([5])])
    beside_its_double = marginal_gains([evidence], [torch.tensor([0, 4])], [torch.tensor([5])])
    assert beside_its_double < alone / 2


def test_consumers_add_up_and_blocks_stay_together() -> None:
    first, second = _evidence(8, seed=3)[0], _evidence(8, seed=4)[0]
    existing, candidates = torch.tensor([0, 1]), torch.arange(2, 8)
    both = marginal_gains([first, second], [existing] * 2, [candidates] * 2)
    single = [marginal_gains([one], [existing], [candidates]) for one in (first, second)]
    assert both.max() > max(one.max() for one in single)
    blocks = marginal_gains([first], [existing], [candidates], block=3).view(2, 3)
    assert torch.equal(blocks, blocks[:, :1].expand(2, 3))
    assert blocks[0, 0] != blocks[1, 0]
