"""Muon: momentum whose updates are made orthogonal, for the weight matrices; Nesterov SGD for everything else."""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Optional, Tuple

import torch
from torch import Tensor, nn

from gearnn.distributed import ALONE, Team

_STEPS = 3
_LEAST = 1e-16  # of a Frobenius norm: what is far smaller counts as no update
_COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # a quintic that pulls singular values from (0, 1] towards 1 (Jordan et al. 2024)


def orthogonaliser(matrix: Tensor, steps: int = _STEPS) -> Tensor:
    """The square matrix that takes another's singular values near each other and leaves its singular vectors, the product having
    a Frobenius norm of 1 (less where the matrix's is near 1e-16 or below): Newton–Schulz iteration.

    Muon (Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural networks"; in torch from 2.9 on, for 2-D weights).

    Args:
        matrix: float32 (M, N), of any scale up to 1e15.

    Returns:
        float32 (S, S) of its shorter side S, to be multiplied with it (`add_product`).
    """
    a, b, c = _COEFFICIENTS
    # Every step multiplies by a polynomial of the Gram matrix, so that the long side is met once here and once at the end.
    whole = matrix.T @ matrix if _is_tall(matrix) else matrix @ matrix.T
    norm = whole.trace().sqrt() + 1e-12  # Frobenius
    whole = gram = whole / norm / norm
    identity = torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
    product = identity
    for step in range(steps):
        factor = a * identity + b * gram + c * (gram @ gram)
        product = factor @ product if step else factor
        if step + 1 < steps:
            gram = factor @ gram @ factor
    # |P M|² = tr(P M Mᵀ Pᵀ): known before P and M are multiplied.
    length = ((product @ whole) * product).sum().clamp(min=0).sqrt()
    # The Gram matrix, which holds squares, underflows before the matrix does, and then norm and length say nothing of it.
    return product / (norm * length + _LEAST)


def add_product(target: Tensor, square: Tensor, matrix: Tensor) -> None:
    """Add a matrix multiplied with a square one, on its shorter side, to ``target``, in place."""
    target.addmm_(*((matrix, square) if _is_tall(matrix) else (square, matrix)))


def _rows(weight: Tensor) -> Tensor:
    """A weight (out, in, …) as a matrix of one row per output channel; a view where it lies channels last."""
    return weight.movedim(1, -1).flatten(1)


def _is_tall(matrix: Tensor) -> bool:
    return matrix.shape[0] > matrix.shape[1]


def _products(matrix: Tensor) -> int:
    """Multiplications that `orthogonaliser` takes."""
    short, long = sorted(matrix.shape)
    return short * short * (long + (4 * _STEPS - 3) * short)


def weight_matrices(model: nn.Module) -> List[Tensor]:
    """The weights that Muon takes: those of convolutions that mix all channels, as matrices (out, in · kernel)."""
    return [layer.weight for layer in model.modules() if isinstance(layer, nn.Conv2d) and layer.groups == 1]


class Muon(torch.optim.Optimizer):
    """Muon for the convolutions of a network, Nesterov SGD for its other parameters.

    A weight W moves by ``relative · (lr / learning_rate) · |W|`` (Frobenius norms) along its orthogonalised momentum, so that the
    step does not depend on the weight's scale, which BatchNorm makes meaningless.

    Args:
        model: whose parameters, float32, are to be learnt.
        learning_rate: of SGD, and what ``lr`` of the parameter groups is counted from.
        relative: a weight's relative change in a step at the full learning rate.
        momentum: of both.
        weight_decay: of SGD.
        team: the processes that have the same gradients and share the work of making updates orthogonal.
    """

    def __init__(
        self,
        model: nn.Module,
        learning_rate: float,
        relative: float,
        momentum: float,
        weight_decay: float,
        team: Team = ALONE,
    ) -> None:
        self.team = team
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
        turned: List[Tuple[Tensor, Tensor, float]] = []  # weight, its update as a matrix, relative change
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                update = self._update(parameter, group)
                if group["relative"]:
                    turned.append((parameter, _rows(update), group["lr"] * group["relative"]))
                else:
                    parameter.add_(update, alpha=-group["lr"])
        for (weight, matrix, change), square in zip(turned, self._orthogonalisers([matrix for _, matrix, _ in turned])):
            rows = _rows(weight)
            add_product(rows, square * (-change * weight.norm()), matrix)
            if rows.data_ptr() != weight.data_ptr():  # a copy, since the weight does not lie channels last
                seen = weight.movedim(1, -1)
                seen.copy_(rows.view(seen.shape))

    def _orthogonalisers(self, matrices: List[Tensor]) -> List[Tensor]:
        """Those of all matrices; each process of the team works out some of them, and tells the others."""
        workers = self.team.shared_out([_products(matrix) for matrix in matrices])
        squares = [
            orthogonaliser(matrix) if worker == self.team.rank else matrix.new_zeros(min(matrix.shape), min(matrix.shape))
            for matrix, worker in zip(matrices, workers)
        ]
        self.team.add_up(squares)
        return squares

    def _update(self, parameter: Tensor, group: Dict[str, Any]) -> Tensor:
        """Nesterov's: the gradient with the momentum of this step."""
        gradient, momentum = parameter.grad, group["momentum"]
        assert gradient is not None
        if not group["relative"]:
            gradient = gradient.add(parameter, alpha=group["weight_decay"])
        state = self.state[parameter]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(parameter)
        buffer: Tensor = state["momentum_buffer"]
        torch.add(gradient, buffer, alpha=momentum, out=buffer)
        return gradient.add(buffer, alpha=momentum)
