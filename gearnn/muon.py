"""Muon: momentum whose updates are made orthogonal, for the weight matrices; Nesterov SGD for everything else."""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Optional

import torch
from torch import Tensor, nn

_STEPS = 3
_COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # a quintic that pulls singular values from (0, 1] towards 1 (Jordan et al. 2024)


def orthogonalised(matrix: Tensor, steps: int = _STEPS) -> Tensor:
    """A matrix with the same singular vectors and all singular values near 1 (0.3 … 1.3): Newton–Schulz iteration.

    Muon (Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural networks"; in torch from 2.9 on, for 2-D weights).

    Args:
        matrix: float32 (M, N), of any scale.
    """
    a, b, c = _COEFFICIENTS
    found = matrix / (matrix.norm() + 1e-12)
    tall = found.shape[0] > found.shape[1]
    if tall:
        found = found.T
    # Every step multiplies by a polynomial of the Gram matrix: small square matrices do, until the last product.
    gram = found @ found.T
    identity = torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
    product = identity
    for step in range(steps):
        factor = a * identity + b * gram + c * (gram @ gram)
        product = factor @ product if step else factor
        if step + 1 < steps:
            gram = factor @ gram @ factor
    found = product @ found
    return found.T if tall else found


def weight_matrices(model: nn.Module) -> List[Tensor]:
    """The weights that Muon takes: those of convolutions that mix all channels, as matrices (out, in · kernel)."""
    return [layer.weight for layer in model.modules() if isinstance(layer, nn.Conv2d) and layer.groups == 1]


class Muon(torch.optim.Optimizer):
    """Muon for the convolutions of a network, Nesterov SGD for its other parameters.

    A weight W moves by ``relative · (lr / learning_rate) · |W|`` (Frobenius norms) along its orthogonalised momentum, so that the
    step does not depend on the weight's scale, which BatchNorm makes meaningless.

    Args:
        model: whose parameters are to be learnt.
        learning_rate: of SGD, and what ``lr`` of the parameter groups is counted from.
        relative: a weight's relative change in a step at the full learning rate.
        momentum: of both.
        weight_decay: of SGD.
    """

    def __init__(self, model: nn.Module, learning_rate: float, relative: float, momentum: float, weight_decay: float) -> None:
        matrices = weight_matrices(model)
        taken = {id(parameter) for parameter in matrices}
        others = [parameter for parameter in model.parameters() if id(parameter) not in taken]
        factor = relative / learning_rate if learning_rate > 0 else 0.0
        settings: Dict[str, Any] = {"lr": learning_rate, "momentum": momentum, "weight_decay": weight_decay}
        groups = [{"params": matrices, "relative": factor}, {"params": others, "relative": 0.0}]
        super().__init__([group for group in groups if group["params"]], settings)

    @torch.no_grad()
    def step(self, closure: Optional[Callable[[], Any]] = None) -> None:  # type: ignore[override]
        """One step; a closure is not supported, nor needed by this project."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._move(parameter, group)

    def _move(self, weight: Tensor, group: Dict[str, Any]) -> None:
        gradient, momentum = weight.grad, group["momentum"]
        assert gradient is not None
        if not group["relative"]:
            gradient = gradient.add(weight, alpha=group["weight_decay"])
        state = self.state[weight]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(weight)
        buffer = state["momentum_buffer"]
        buffer.mul_(momentum).add_(gradient)
        update = gradient.add(buffer, alpha=momentum)
        if not group["relative"]:
            weight.add_(update, alpha=-group["lr"])
            return
        direction = orthogonalised(update.reshape(len(weight), -1).float()).reshape(weight.shape)
        scale = weight.norm() / (direction.norm() + 1e-12)
        weight.sub_(direction.to(weight.dtype) * (group["lr"] * group["relative"] * scale))
