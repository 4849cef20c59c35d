"""The training loss: cross-entropy on the clean view, and agreement of all views."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from gearnn.errors import UserError


def logits_of(found: object, images: int, otherwise: str = "") -> torch.Tensor:
    """What a network returned for so many images, if that is one tensor of logits, (images, classes).

    Args:
        otherwise: what can be done besides, as the error's last words.

    Raises:
        UserError: saying what else it is.
    """
    if isinstance(found, torch.Tensor) and found.ndim == 2 and len(found) == images:
        return found
    told = f"a tensor of shape {tuple(found.shape)}" if isinstance(found, torch.Tensor) else f"a {type(found).__name__}"
    raise UserError(
        f"the network returns {told} for {images} images, but a loss needs one tensor of logits (batch, classes): wrap the "
        f"network so that its forward returns that alone{otherwise}"
    )


def jensen_shannon(logits: torch.Tensor) -> torch.Tensor:
    """How much the views' predictions disagree, in nats: 0 when they agree, at most log J.

    ``mean_j KL(p_j || m)`` with ``m = clamp(mean_j p_j, 1e-7, 1)``, summed over classes and averaged over the batch
    (AugMix, Hendrycks et al., ICLR 2020, equation 2).

    Args:
        logits: float (J, B, K) for J views of B images and K classes.

    Returns:
        float32 scalar.
    """
    log_p = F.log_softmax(logits.float(), dim=-1)
    p = log_p.exp()
    log_mean = p.mean(dim=0).clamp(1e-7, 1.0).log()
    return (p * (log_p - log_mean)).sum(dim=-1).mean()


def consistency_loss(logits: torch.Tensor, labels: torch.Tensor, weight: float = 12.0) -> torch.Tensor:
    """Cross-entropy of the clean view plus ``weight`` times the Jensen-Shannon divergence of all views (AugMix).

    Args:
        logits: float (J, B, K), view 0 the clean one; with J = 1 the result is plain cross-entropy.
        labels: int64 (B,).
        weight: AugMix uses 12.

    Returns:
        float32 scalar.

    Raises:
        ValueError: if the shapes do not belong together.
    """
    if logits.ndim != 3 or logits.shape[0] < 1 or labels.shape != logits.shape[1:2]:
        raise ValueError(
            "consistency_loss needs logits (views, batch, classes) and labels (batch,), "
            f"got {tuple(logits.shape)} and {tuple(labels.shape)}."
        )
    loss = F.cross_entropy(logits[0].float(), labels)
    if logits.shape[0] > 1:
        loss = loss + weight * jensen_shannon(logits)
    return loss
