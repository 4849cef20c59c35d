"""What each of several candidates adds to those taken before it: orthogonal matching pursuit on gradients.

A consumer's output changes by U h when candidates with features h get outgoing weights U. With G = Σ δ hᵀ the loss's gradient by
U and S = Σ h hᵀ, the best step of a given size at the output takes off tr(G S⁻¹ Gᵀ) (the natural gradient of TINY, Verbockhaven
et al. 2024, arXiv 2405.19816). Taken one after the other, as in Pati et al. 1993, each candidate counts with what neither the
existing channels nor the earlier candidates already say.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Sequence, Tuple

import torch
from torch import Tensor

RIDGE = 0.1
"""Share of its own power that is added to each feature's: a few batches tell less than their Gram matrix claims."""


@dataclass(frozen=True)
class Evidence:
    """What one consumer says of n offered channels.

    Attributes:
        product: float (n, n), ⟨G_i, G_j⟩ by channel, averaged over pieces of the data.
        gram: float (n, n), the mean of h hᵀ.
    """

    product: Tensor
    gram: Tensor


def marginal_gains(
    evidence: Sequence[Evidence], existing: Sequence[Tensor], candidates: Sequence[Tensor], block: int = 1
) -> Tensor:
    """The loss that each candidate takes off in its turn, the most gainful first; float64 (K,), larger is better.

    Args:
        evidence: from each consumer.
        existing: for each consumer, int64 positions of channels that it reads already.
        candidates: for each consumer, int64 (K,) positions of the candidates.
        block: this many consecutive candidates are taken together.
    """
    residuals = [_residual(*given) for given in zip(evidence, existing, candidates)]
    count = len(candidates[0])
    gains, left = torch.zeros(count, dtype=torch.float64), torch.ones(count // block, dtype=torch.bool)
    ceiling = float("inf")
    while left.any():
        worth = torch.stack([product.diagonal() / gram.diagonal() for product, gram in residuals]).sum(0)
        by_block = worth.view(-1, block).sum(1).masked_fill(~left, -float("inf"))
        best = int(by_block.argmax())
        left[best] = False
        ceiling = min(ceiling, float(by_block[best]))
        gains[best * block : (best + 1) * block] = ceiling / block
        for taken in range(best * block, (best + 1) * block):
            for product, gram in residuals:
                _eliminate(product, gram, taken)
    return gains


def _residual(evidence: Evidence, existing: Tensor, candidates: Tensor) -> Tuple[Tensor, Tensor]:
    """Product and Gram matrix of the candidates, less what existing channels explain of them: float64 (K, K) each."""
    gram, product = evidence.gram.double().cpu(), evidence.product.double().cpu()
    gram = gram + torch.diag(RIDGE * gram.diagonal() + 1e-12)
    old, new = existing.cpu(), candidates.cpu()
    explained = torch.linalg.solve(gram[old][:, old], gram[old][:, new]).t()
    both = torch.cat([new, old])
    rest = torch.cat([torch.eye(len(new), dtype=torch.float64), -explained], dim=1)
    return rest @ product[both][:, both] @ rest.t(), gram[new][:, new] - explained @ gram[old][:, new]


def _eliminate(product: Tensor, gram: Tensor, taken: int) -> None:
    """Take what one candidate explains out of all others, in place."""
    share = gram[taken] / gram[taken, taken]
    share[taken] = 0
    column, row, own = product[:, taken].clone(), product[taken].clone(), product[taken, taken].clone()
    product -= torch.outer(share, row) + torch.outer(column, share) - own * torch.outer(share, share)
    gram -= torch.outer(share, gram[taken].clone())
