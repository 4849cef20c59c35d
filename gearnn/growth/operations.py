"""What functions and methods do to channels: leave each by itself, combine those of several values, or move them."""

from __future__ import annotations

import operator
from typing import Any, Optional, Sequence

import torch
import torch.nn.functional as F
from torch import fx, nn

# Each channel of the result depends on that channel of the one input only.
PASSING_MODULES = (
    nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.CELU, nn.SELU, nn.GELU, nn.SiLU, nn.Mish, nn.Softplus, nn.Hardswish,
    nn.Hardsigmoid,
    nn.Hardtanh, nn.Sigmoid, nn.Tanh, nn.Identity, nn.Dropout, nn.Dropout2d, nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d,
    nn.AdaptiveMaxPool2d, nn.Upsample, nn.ZeroPad2d, nn.ReflectionPad2d, nn.ReplicationPad2d,
)  # fmt: skip
PASSING_FUNCTIONS = (
    F.relu, F.relu6, F.leaky_relu, F.elu, F.gelu, F.silu, F.mish, F.softplus, F.hardswish, F.hardsigmoid, F.hardtanh, F.dropout,
    F.dropout2d, F.adaptive_avg_pool2d, F.adaptive_max_pool2d, F.max_pool2d, F.avg_pool2d, F.interpolate, F.pad, torch.relu,
    torch.sigmoid,
    torch.tanh, torch.clone, torch.neg, operator.neg, torch.square, torch.sqrt, torch.abs, torch.clamp,
)  # fmt: skip
PASSING_METHODS = ("relu", "relu_", "sigmoid", "tanh", "contiguous", "clone", "neg", "square", "sqrt", "abs", "clamp", "detach")
RESHAPES = (
    torch.flatten, "flatten", "view", "reshape", torch.reshape, torch.squeeze, "squeeze", torch.unsqueeze, "unsqueeze",
    torch.permute, "permute", torch.transpose, "transpose", torch.mean, "mean", torch.amax, "amax",
)  # fmt: skip
_MERGES = (
    operator.add, operator.iadd, torch.add, "add", "add_", operator.sub, operator.isub, torch.sub, "sub", operator.mul,
    operator.imul,
    torch.mul, "mul", "mul_", operator.truediv, torch.div, "div", torch.maximum, torch.minimum,
)  # fmt: skip


def merges(target: Any) -> bool:
    """Whether a function combines values channel by channel."""
    return target in _MERGES


def argument(node: fx.Node, position: int, name: str, default: Any = None) -> Any:
    """An argument of a call, wherever it was given."""
    return node.args[position] if len(node.args) > position else node.kwargs.get(name, default)


def new_axis(node: fx.Node, axis: int, dims: int) -> Optional[int]:
    """Where a permutation, transposition or mean moves an axis; None for anything else, and where the axis itself is reduced."""
    name = getattr(node.target, "__name__", str(node.target))
    if name == "permute":
        given = node.args[1] if isinstance(node.args[1], (tuple, list)) else node.args[1:]
        return [int(dim) % dims for dim in given].index(axis)  # type: ignore[call-overload, arg-type, union-attr]
    if name == "transpose":
        swapped = [int(argument(node, place, key)) % dims for place, key in ((1, "dim0"), (2, "dim1"))]
        return swapped[1 - swapped.index(axis)] if axis in swapped else axis
    if name in ("mean", "amax"):
        reduced = argument(node, 1, "dim")
        listed: Sequence[int] = [reduced] if isinstance(reduced, int) else reduced or range(dims)
        given = [int(dim) % dims for dim in listed]
        if axis in given:
            return None
        return axis if argument(node, 2, "keepdim", False) else axis - sum(dim < axis for dim in given)
    return None
