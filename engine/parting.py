"""The first layer where two executions of one network part, by what flows between their layers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, Dict, List, Mapping, Optional, Sequence, Tuple

from gearnn.engine.checked_onnx import checked_onnx
from gearnn.engine.errors import EngineError, reason
from gearnn.engine.module_paths import module_path

if TYPE_CHECKING:
    import numpy as np
    from torch import nn

    Values = Mapping[str, "np.ndarray"]

_AT_A_TIME = 32  # tensors fetched per execution: all of a large network at once may not fit


@dataclass(frozen=True)
class LayerDifference:
    """How far one layer's output is off.

    Attributes:
        tensor: its name in the ONNX graph.
        node, op: that computes it.
        module: torch module it came from; "" where the name does not say.
        max_abs: largest absolute difference.
        relative: L2 norm of the differences over that of the reference.
    """

    tensor: str
    node: str
    op: str
    module: str
    max_abs: float
    relative: float


def parting(layers: Sequence[LayerDifference], tolerance: float) -> Optional[int]:
    """Position of the first layer whose relative difference is above the tolerance, or is not a number; None if there is none."""
    return next((place for place, layer in enumerate(layers) if not layer.relative <= tolerance), None)


def differences_of_files(reference: Path, candidate: Path, images: Tuple[np.ndarray, np.ndarray]) -> List[LayerDifference]:
    """Differences at the tensors that two ONNX files both name, in the order of the reference's nodes.

    Both run in ONNX Runtime on the CPU without graph optimisations, so that every tensor exists: numbers may differ in the last
    bits from those of an optimised run.

    Args:
        images: what each file takes, of the same pictures.

    Raises:
        EngineError: if onnx is missing, a file cannot be read, or the two name no tensor alike.
    """
    first, second = _Graph(reference), _Graph(candidate)
    common = [name for name in first.order if name in second.makers]
    if not common:
        raise EngineError(
            f"{reference} and {candidate} name no tensor alike, so no layer can be told: compare files of one export"
        )
    found = []
    for start in range(0, len(common), _AT_A_TIME):
        names = common[start : start + _AT_A_TIME]
        wanted, got = first.values(names, images[0]), second.values(names, images[1])
        found += [
            _difference(name, first.makers[name], wanted[name], got[name])
            for name in names
            if wanted[name].shape == got[name].shape
        ]
    return found


def differences_to_torch(model: nn.Module, candidate: Path, images: Tuple[np.ndarray, np.ndarray]) -> List[LayerDifference]:
    """Differences between a torch network's modules and the ONNX file that was exported from it, in the file's order.

    A module is known by the nodes' names. Batch normalisation that was folded into the layer before it is taken as its end.

    Args:
        images: float32 (N, C, H, W) for torch, and what the file takes.

    Raises:
        EngineError: as `differences_of_files`.
    """
    graph = _Graph(candidate)
    made = {}
    for name in graph.order:  # the last tensor of a module is its output
        made[module_path(graph.makers[name].name)] = name
    outputs = _module_outputs(model, images[0], set(made))
    names = {path: name for path, name in made.items() if path in outputs}
    if not names:
        raise EngineError(f"the nodes of {candidate} do not carry the names of {type(model).__name__}'s modules: export it again")
    found, pairs = [], list(names.items())
    for start in range(0, len(pairs), _AT_A_TIME):
        together = pairs[start : start + _AT_A_TIME]
        values = graph.values([name for _, name in together], images[1])
        for path, name in together:
            if outputs[path].shape == values[name].shape:
                found.append(_difference(name, graph.makers[name], outputs[path], values[name]))
    return found


class _Graph:
    """An ONNX file whose inner tensors can be asked for."""

    def __init__(self, path: Path) -> None:
        try:
            import onnx
        except ImportError as error:
            raise EngineError(f"comparing layer by layer needs the onnx package ({reason(error)}): pip install onnx") from error
        self.path = path
        content = checked_onnx(path)
        try:
            self._model = onnx.load_model_from_string(content)
        except Exception as error:
            raise EngineError(f"{path} is not a readable ONNX file ({reason(error)}): export it again") from error
        graph = self._model.graph
        self._input = graph.input[0].name
        quantized = ("QuantizeLinear", "DequantizeLinear", "Constant", "Identity", "Cast")
        computing = [node for node in graph.node if node.op_type not in quantized and node.output[0]]
        self.makers: Dict[str, Any] = {node.output[0]: node for node in computing}
        self.order = [node.output[0] for node in computing]

    def values(self, names: Sequence[str], images: np.ndarray) -> Dict[str, np.ndarray]:
        """The tensors of those names."""
        import onnx
        import onnxruntime as ort

        asked = onnx.ModelProto()
        asked.CopyFrom(self._model)
        del asked.graph.output[:]
        asked.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
        options = ort.SessionOptions()
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.log_severity_level = 4
        try:
            session = ort.InferenceSession(asked.SerializeToString(), options, providers=["CPUExecutionProvider"])
            return dict(zip(names, session.run(list(names), {self._input: images})))
        except Exception as error:
            raise EngineError(f"{self.path} does not run layer by layer ({reason(error)}): compare its logits only") from error


def _module_outputs(model: nn.Module, images: np.ndarray, exported: set) -> Dict[str, np.ndarray]:
    """Output of each module without children on its first call, by path; a folded batch norm's for the layer before it."""
    import torch
    from torch import nn

    order: List[Tuple[str, nn.Module, torch.Tensor]] = []

    def keep(path: str) -> Callable[..., None]:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            if isinstance(output, torch.Tensor) and all(path != seen for seen, _, _ in order):
                order.append((path, module, output.detach().clone()))  # the next module may work in place

        return hook

    hooks = [module.register_forward_hook(keep(path)) for path, module in model.named_modules() if not list(module.children())]
    try:
        with torch.no_grad():
            model(torch.from_numpy(images))
    finally:
        for handle in hooks:
            handle.remove()
    outputs = {path: output for path, _, output in order}
    for (path, _, _), (after, norm, output) in zip(order, order[1:]):
        if path in exported and after not in exported and isinstance(norm, nn.modules.batchnorm._BatchNorm):
            outputs[path] = output
    return {path: output.cpu().numpy() for path, output in outputs.items() if path in exported}


def _difference(name: str, node: Any, wanted: np.ndarray, got: np.ndarray) -> LayerDifference:
    import numpy as np

    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        reference = wanted.astype(np.float64)
        difference = got.astype(np.float64) - reference
        largest = float(np.abs(difference).max()) if difference.size else 0.0
        size = float(np.linalg.norm(reference))
        relative = float(np.linalg.norm(difference)) / size if size else (0.0 if largest == 0 else float("inf"))
    return LayerDifference(name, node.name, node.op_type, module_path(node.name), largest, relative)
