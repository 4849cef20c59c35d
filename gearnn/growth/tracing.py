"""A network as a graph of operations, with the shape of every value."""

from __future__ import annotations

import inspect
import traceback
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Dict, Iterator, Set

import torch
from torch import Tensor, fx, nn
from torch.fx.passes.shape_prop import ShapeProp

from gearnn.errors import UserError
from gearnn.growth.operations import layer_class


class _Tracer(fx.Tracer):
    """Takes torch's layers for one operation each, and subclasses of them that compute the same."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return super().is_leaf_module(m, module_qualified_name) or layer_class(m) is not None


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """The model in eval mode; afterwards each of its modules is in the mode that it was in."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


@contextmanager
def _no_new_attributes(model: nn.Module) -> Iterator[None]:
    """fx leaves tensors that it met in the code (torch.ones(3)) as attributes of the model: take them away again."""
    before = set(vars(model))
    try:
        yield
    finally:
        for name in set(vars(model)) - before:
            if name.startswith("_tensor_constant"):
                delattr(model, name)


class _Uncompiled(fx.GraphModule):
    """Only to be interpreted: code compiled from the graph would stay in torch.fx's and Python's caches of sources."""

    def recompile(self) -> Any:
        return None


def traced(model: nn.Module, example_input: Tensor) -> fx.Graph:
    """What the model computes in eval mode, each node with its value's shape in ``meta``; the model stays as it is.

    Args:
        example_input: (B, C, H, W), on the model's device.

    Raises:
        UserError: if the model does not run on the example, cannot be traced (its control flow depends on the data), or runs
            other layers in training; it names the line.
    """
    # Of one image, squeezing would take away the batch.
    example = torch.cat([example_input, example_input]) if len(example_input) == 1 else example_input.clone()
    parameters = inspect.signature(model.forward).parameters.values()
    options = {one.name: one.default for one in parameters if one.default is not one.empty}
    with evaluating(model), _no_new_attributes(model), torch.no_grad():
        try:
            model(example.clone())
        except Exception as error:
            raise UserError(
                f"this network does not run on the example input of shape {tuple(example_input.shape)}{_line(error)}: {error}"
            ) from error
        try:
            graph = _Tracer().trace(model, options)
            ShapeProp(_Uncompiled(model, graph)).propagate(example, *options.values())
        except Exception as error:
            raise UserError(
                f"this network cannot be traced for growth{_line(error)}: {error}; growth needs a forward that torch.fx "
                "can trace, without branches that depend on the data"
            ) from error
        extra = _called_in_training(model, options) - _called(graph)
    if extra:
        raise UserError(
            f"growth follows a network as it is in evaluation, but in training this one also runs {', '.join(sorted(extra))}: "
            "leave such layers out of it while it grows"
        )
    return graph


def _called(graph: fx.Graph) -> Set[str]:
    return {str(node.target) for node in graph.nodes if node.op == "call_module"}


def _called_in_training(model: nn.Module, options: Dict[str, Any]) -> Set[str]:
    """The layers that a training step runs, as far as it can be traced."""
    model.train()
    try:
        return _called(_Tracer().trace(model, options))
    except Exception:
        return set()
    finally:
        model.eval()


def _line(error: Exception) -> str:
    """ " (file, line: code)" of the innermost frame outside torch."""
    inside = str(Path(torch.__file__).parent)
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith((inside, "<"))]
    frames = [frame for frame in frames if frame.filename != __file__]
    return f" ({frames[-1].filename}, line {frames[-1].lineno}: {frames[-1].line})" if frames else ""
