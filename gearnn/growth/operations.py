"""What layers, functions and methods do to channels: leave each by itself, combine those of several values, or move them."""

from __future__ import annotations

import operator
from typing import Any, Optional, Sequence, Tuple

import torch
import torch.nn.functional as F
from torch import fx, nn
from torch.fx.passes.shape_prop import TensorMetadata

# Each entry of the result depends on that entry of the one input only.
_POINTWISE_MODULES = (
    nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.CELU, nn.SELU, nn.GELU, nn.SiLU, nn.Mish, nn.Softplus, nn.Hardswish,
    nn.Hardsigmoid, nn.Hardtanh, nn.Sigmoid, nn.Tanh, nn.Identity, nn.Dropout, nn.Dropout2d, nn.AlphaDropout,
)  # fmt: skip
_POINTWISE = (
    F.relu, F.relu6, F.leaky_relu, F.elu, F.gelu, F.silu, F.mish, F.softplus, F.hardswish, F.hardsigmoid, F.hardtanh, F.dropout,
    F.dropout2d, torch.relu, torch.relu_, torch.sigmoid, torch.tanh, torch.clone, torch.neg, operator.neg, torch.square,
    torch.sqrt,
    torch.abs, torch.clamp, torch.pow, operator.pow, torch.exp, "relu", "relu_", "sigmoid", "sigmoid_", "tanh", "tanh_",
    "contiguous", "clone", "neg", "square", "sqrt", "abs", "clamp", "clamp_", "pow", "exp", "detach", "float",
)  # fmt: skip
# Each channel of the result depends on that channel of the one input only, where channels lie along axis 1 of 4.
_SPATIAL_MODULES = (
    nn.MaxPool2d, nn.AvgPool2d, nn.LPPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d, nn.Upsample, nn.ConstantPad2d,
    nn.ReflectionPad2d, nn.ReplicationPad2d,
)  # fmt: skip
_SPATIAL = (F.adaptive_avg_pool2d, F.adaptive_max_pool2d, F.max_pool2d, F.avg_pool2d, F.interpolate, F.pad)
_RESHAPES = (torch.flatten, "flatten", torch.reshape, "view", "reshape")
_MOVES = ("permute", "transpose", "mean", "sum", "amax", "amin", "squeeze", "unsqueeze")
_MERGES = (
    operator.add, operator.iadd, torch.add, "add", "add_", operator.sub, operator.isub, torch.sub, "sub", "sub_", operator.mul,
    operator.imul, torch.mul, "mul", "mul_", operator.truediv, torch.div, "div", "div_", torch.maximum, torch.minimum,
)  # fmt: skip
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.InstanceNorm2d, nn.GroupNorm, nn.LayerNorm)


def layer_class(module: nn.Module) -> Optional[type]:
    """The convolution, linear or normalisation class whose computation a module has, subclasses of the same computation
    included."""
    for base in (nn.Conv2d, nn.Linear, *_NORMS):
        own = type(module)
        if isinstance(module, base):
            same = own.forward is base.forward and getattr(own, "_conv_forward", None) is getattr(base, "_conv_forward", None)
            return base if same else None
    return None


def layer_kind(module: nn.Module) -> Optional[str]:
    """ "mixing", "grouped" or "norm" (see `gearnn.growth.graph.Layer`); None for what growth does not know."""
    base = layer_class(module)
    if base is None or misfit(module):
        return None
    if isinstance(module, nn.Conv2d) and module.groups > 1:
        return "grouped"
    return "mixing" if base in (nn.Conv2d, nn.Linear) else "norm"


def misfit(module: nn.Module) -> str:
    """Why growth cannot widen a module, or "": a phrase to follow its name."""
    if layer_class(module) is None:
        return f"a {type(module).__name__}, which growth does not know"
    if set(module._parameters) != {"weight", "bias"} or not isinstance(module.weight, (nn.Parameter, type(None))):
        return "whose weight is computed from other parameters"
    if isinstance(module, nn.Conv2d) and module.groups > 1 and module.in_channels != module.out_channels:
        return "which has several groups and another number of outputs than inputs"
    return ""


def passes(target: Any, axis: int, before: Sequence[int]) -> bool:
    """Whether a function, method or module leaves every channel by itself, with channels along ``axis`` of a tensor
    ``before``."""
    if isinstance(target, nn.PReLU):
        return target.num_parameters == 1
    if isinstance(target, nn.Module):
        return isinstance(target, _POINTWISE_MODULES) or (isinstance(target, _SPATIAL_MODULES) and axis == 1 and len(before) == 4)
    return target in _POINTWISE or (target in _SPATIAL and axis == 1 and len(before) == 4)


def merges(target: Any) -> bool:
    """Whether a function combines values entry by entry."""
    return target in _MERGES


def reads_shape(node: fx.Node) -> bool:
    """Whether a node looks at a value's shape or kind only."""
    if node.op == "call_function" and node.target is getattr:
        return node.args[1] in ("shape", "dtype", "device", "ndim")
    return node.op == "call_method" and node.target in ("size", "dim", "numel", "ndimension")


def reshapes(node: fx.Node) -> bool:
    return node.target in _RESHAPES


def moves(node: fx.Node) -> bool:
    return node.op in ("call_function", "call_method") and name_of(node) in _MOVES


def argument(node: fx.Node, position: int, name: str, default: Any = None) -> Any:
    """An argument of a call, wherever it was given."""
    return node.args[position] if len(node.args) > position else node.kwargs.get(name, default)


def new_axis(node: fx.Node, axis: int, before: Sequence[int]) -> Optional[int]:
    """Where one of `moves` puts an axis of a tensor of shape ``before``; None where that axis, or the batch's, is moved or
    reduced."""
    name, dims = name_of(node), len(before)
    if name == "permute":
        given = argument(node, 1, "dims")
        order = [int(dim) % dims for dim in (given if isinstance(given, (tuple, list)) else node.args[1:])]  # type: ignore[arg-type]
        return order.index(axis) if order[0] == 0 else None
    if name == "transpose":
        swapped = [int(argument(node, place, key)) % dims for place, key in ((1, "dim0"), (2, "dim1"))]
        if 0 in swapped:
            return None
        return swapped[1 - swapped.index(axis)] if axis in swapped else axis
    given = argument(node, 1, "dim")
    if name == "unsqueeze":
        place = int(given) % (dims + 1)
        return axis + (place <= axis) if place > 0 else None
    listed = [given] if isinstance(given, int) else given if given else range(dims)
    gone = {int(dim) % dims for dim in listed}
    if name == "squeeze":
        gone = {dim for dim in gone if before[dim] == 1}
    elif argument(node, 2, "keepdim", False):
        return None if {0, axis} & gone else axis
    return None if {0, axis} & gone else axis - sum(dim < axis for dim in gone)


def written_sizes(node: fx.Node) -> Tuple[Any, ...]:
    """The sizes that a view or reshape was given: numbers that stand in the code, and nodes."""
    if node.target not in ("view", "reshape", torch.reshape):
        return ()
    given = argument(node, 1, "shape", node.kwargs.get("size", ()))
    return tuple(given) if isinstance(given, (tuple, list)) else tuple(node.args[1:])


def counts_channels(size: Any) -> bool:
    """Whether a size that a view was given is the number of channels of some value: x.size(1) or x.shape[1]."""
    if not isinstance(size, fx.Node):
        return False
    if size.op == "call_method" and size.target == "size":
        return argument(size, 1, "dim") in (1, -3)
    source = size.args[0] if size.target is operator.getitem else None
    return isinstance(source, fx.Node) and reads_shape(source) and size.args[1] in (1, -3)


def shape_of(node: fx.Node) -> Optional[Tuple[int, ...]]:
    """The shape of a node's value, if that is one tensor."""
    found = node.meta.get("tensor_meta")
    return tuple(int(side) for side in found.shape) if isinstance(found, TensorMetadata) and node.op != "output" else None


def name_of(node: fx.Node) -> str:
    """Of the function, method or module that a node calls."""
    return getattr(node.target, "__name__", str(node.target))
