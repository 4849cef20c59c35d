"""One growth step: propose, train, score, select, apply."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Dict, Mapping, Optional

import torch
from torch import Tensor, nn

from gearnn.budget import cost_and_limit
from gearnn.config import Budget, FireflyConfig
from gearnn.errors import UserError
from gearnn.growth.decision import GrowthDecision
from gearnn.growth.firefly import (
    Batches,
    Objective,
    chosen_layouts,
    propose,
    score_candidates,
    train_candidates,
)
from gearnn.growth.graph import trace_channels
from gearnn.growth.select import select
from gearnn.growth.surgery import carried_momentum, widened_model
from gearnn.losses import consistency_loss


@dataclass(frozen=True)
class Growth:
    """A grown network, the decision that shaped it, the optimizer's momentum for it, and what was left alone and why."""

    model: nn.Module
    decision: GrowthDecision
    momentum: Dict[str, Tensor]
    fixed: Dict[str, str]


def grow(
    model: nn.Module,
    batches: Batches,
    budget: Budget,
    *,
    config: Optional[FireflyConfig] = None,
    objective: Objective = consistency_loss,
    momentum: Optional[Mapping[str, Tensor]] = None,
    seed: int = 0,
) -> Growth:
    """Grow a network once to its budget (OSG's step, GEARnn arXiv 2410.07691, by Firefly's candidates, arXiv 2102.08574).

    Args:
        model: a traceable convolutional network on normalised images; it is not changed.
        batches: ``batches(epoch)`` iterates over (views (J, B, C, H, W), labels (B,)) for candidate training and scoring.
        objective: logits (J, B, K) and labels → loss.
        momentum: the optimizer's buffers by parameter name, carried over for old weights.
        seed: decides the candidates' initial weights.

    Raises:
        UserError: for a network that cannot be traced or has nothing to grow, or a budget out of reach.
    """
    config = config or FireflyConfig()
    graph = trace_channels(model)
    if not graph.groups:
        reasons = "; ".join(f"{layer}: {reason}" for layer, reason in graph.fixed.items())
        raise UserError(f"this network has no channels that can be grown ({reasons or 'no convolutions found'})")
    unit, cost, limit = cost_and_limit(budget, model, graph)
    was_training = model.training
    model.eval()
    try:
        bank = propose(model, graph, config, torch.Generator().manual_seed(seed))
        train_candidates(model, graph, bank, batches, objective, config)
        scores = score_candidates(model, graph, bank, batches, objective, epoch=config.epochs)
    finally:
        model.train(was_training)
    decision = select(graph, scores, unit, cost, limit, config.round_to)
    device = next(model.parameters()).device
    grown = widened_model(model, graph, bank, chosen_layouts(graph, decision, device))
    return Growth(grown, decision, carried_momentum(momentum or {}, grown), graph.fixed)
