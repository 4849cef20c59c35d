"""From an engine's bytes to its context: what TensorRT is asked once, when an engine is loaded. Not run on hardware."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, Tuple

import numpy as np

from gearnn.engine.errors import EngineError
from gearnn.engine.manifest import Manifest
from gearnn.engine.tensorrt_api import TensorRT

# By name, since the flavours' enumerations are not the same objects.
_TYPES: Dict[str, np.dtype] = {"FLOAT": np.dtype(np.float32), "HALF": np.dtype(np.float16), "UINT8": np.dtype(np.uint8)}


@dataclass(frozen=True)
class Port:
    """Attributes: name; dtype: of its numbers in memory; row: sizes of one image, empty for the output."""

    name: str
    dtype: np.dtype
    row: Tuple[int, ...] = ()

    @property
    def row_bytes(self) -> int:
        """Bytes of one image."""
        return int(np.prod(self.row)) * self.dtype.itemsize


@dataclass(frozen=True)
class Facts:
    """Attributes: source, target: the input and the output; batch: smallest, best, largest."""

    source: Port
    target: Port
    batch: Tuple[int, int, int]

    def output_row(self, context: Any, batch: int, path: Path) -> Tuple[int, ...]:
        """Sizes of one image's output, of a context that knows its input's."""
        shape = tuple(int(size) for size in context.get_tensor_shape(self.target.name))
        if len(shape) < 2 or shape[0] != batch or min(shape) < 1:
            raise EngineError(f"{path} has an output of shape {shape} for {batch} images: one row for each is wanted")
        return shape[1:]


class Failure:
    """Makes errors that end in the last line TensorRT logged."""

    def __init__(self, logger: Any, path: Path) -> None:
        self._logger = logger
        self._path = path

    def __call__(self, what: str, cure: str) -> EngineError:
        """A sentence: the engine ``what`` (its reason): ``cure``."""
        return EngineError(f"{self._path} {what} ({last_line(self._logger)}): {cure}")


def last_line(logger: Any) -> str:
    """The last error that TensorRT logged, on one line."""
    text = " ".join(logger.errors[-1].split()) if logger.errors else "TensorRT gives no reason"
    return text if len(text) <= 300 else text[:300] + "…"


def deserialize(trt: TensorRT, logger: Any, path: Path, manifest: Manifest) -> Tuple[Any, Any]:
    """TensorRT's runtime and engine, in this order.

    Raises:
        EngineError: with TensorRT's reason.
    """
    try:
        runtime = trt.module.Runtime(logger)
    except (TypeError, RuntimeError) as error:  # what pybind11 raises when the factory returns null
        why = last_line(logger) if logger.errors else error
        raise EngineError(f"{trt.flavour} {trt.version} does not start ({why}): check the GPU's driver") from error
    dla = manifest.details.get("dla")
    if isinstance(dla, dict) and "core" in dla:
        runtime.DLA_core = dla["core"]
    if manifest.details.get("version_compatible") is True and hasattr(runtime, "engine_host_code_allowed"):
        runtime.engine_host_code_allowed = True  # such engines bring a runtime of their own along
    try:
        engine = runtime.deserialize_cuda_engine(path.read_bytes())
    except OSError as error:
        raise EngineError(f"cannot read {path} ({error.strerror or error}): check the path") from error
    if engine is None:
        cure = f"rebuild it here with: {manifest.rebuild or 'gearnn build'}"
        raise EngineError(f"{trt.flavour} {trt.version} cannot load {path} ({last_line(logger)}): {cure}")
    return runtime, engine


def inspect(trt: TensorRT, engine: Any, path: Path) -> Facts:
    """The tensors of an engine.

    Raises:
        EngineError: if they are not one input of float32, float16 or uint8 and one output of float32 or float16, with an open or
            fixed batch and fixed other sizes.
    """
    modes = trt.module.TensorIOMode
    names: Dict[Any, list] = {modes.INPUT: [], modes.OUTPUT: []}
    for index in range(engine.num_io_tensors):
        name = engine.get_tensor_name(index)
        names[engine.get_tensor_mode(name)].append(name)
    inputs, outputs = names[modes.INPUT], names[modes.OUTPUT]
    if len(inputs) != 1 or len(outputs) != 1:
        raise EngineError(f"{path} has inputs {inputs} and outputs {outputs}: one input and one output are wanted")
    kinds = engine.get_tensor_dtype(inputs[0]).name, engine.get_tensor_dtype(outputs[0]).name
    if kinds[0] not in _TYPES or kinds[1] not in ("FLOAT", "HALF"):
        raise EngineError(f"{path} maps {kinds[0]} to {kinds[1]}: float32, float16 or uint8 to float32 or float16 is wanted")
    shapes = [tuple(engine.get_tensor_shape(inputs[0]))] * 3
    if min(shapes[0]) < 0:
        shapes = [tuple(shape) for shape in engine.get_tensor_profile_shape(inputs[0], 0)]
    smallest, best, largest = shapes
    if len(largest) != 4 or smallest[1:] != largest[1:]:
        raise EngineError(f"{path} takes images from {smallest} to {largest}: build it for one image size, batches of them")
    source = Port(inputs[0], _TYPES[kinds[0]], tuple(int(size) for size in largest[1:]))
    return Facts(source, Port(outputs[0], _TYPES[kinds[1]]), (int(smallest[0]), int(best[0]), int(largest[0])))


def new_context(engine: Any, failed: Failure) -> Any:
    """A context to execute an engine in; raises EngineError if there is no memory for its activations."""
    context = engine.create_execution_context()
    if context is None:
        raise failed("has no room for its activations", "close other programs, or build it for smaller batches")
    return context


def layer_timer(trt: TensorRT) -> Any:
    """A profiler to attach to a context; ``taken`` sums milliseconds by layer, in the order of execution."""
    base = trt.module.IProfiler

    class Timer(base):  # type: ignore[misc, valid-type]
        def __init__(self) -> None:
            base.__init__(self)  # the bindings crash without
            self.taken: Dict[str, float] = {}

        def report_layer_time(self, layer_name: str, ms: float) -> None:
            self.taken[layer_name] = self.taken.get(layer_name, 0.0) + ms

    return Timer()
