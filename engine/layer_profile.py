"""What each layer of a deployed network takes, named by ONNX node and torch module.

ONNX Runtime's profiler counts whole microseconds and adds one or two to every node: small layers look slower than they are, and
the sum is more than a call takes. Read the shares. Runtimes fuse layers; a row is what ran as one.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple, Union

import numpy as np

from gearnn.engine.errors import EngineError, reason
from gearnn.engine.module_paths import module_path
from gearnn.engine.onnx_file import OnnxFile, read_onnx
from gearnn.engine.runtimes.base import Runtime

_MADE_BY_ORT = re.compile(r"(_nchwc|_token_\d+|_kernel_time|_nhwc|_quant|_output_\d+)+$")
_FOLLOWERS = ("Add", "Relu", "Clip", "BatchNormalization", "HardSigmoid", "LeakyRelu", "Sigmoid", "Tanh")
_WRAPPED = re.compile(r"^(?:PWN|\{?ForeignNode|Reformatting CopyNode for (?:In|Out)put Tensor \d+ to)\s*[\[(]?")


@dataclass(frozen=True)
class LayerTime:
    """One layer as it ran.

    Attributes:
        name: the runtime's own.
        op: kind of operation, as the runtime calls it.
        nodes: ONNX nodes it stands for; empty where the runtime made it up, to change a layout for instance.
        modules: torch modules of those nodes, where their names say.
        mean_ms: mean over the executions.
        share: of the sum over all layers.
    """

    name: str
    op: str
    nodes: Tuple[str, ...]
    modules: Tuple[str, ...]
    mean_ms: float
    share: float


def profile_layers_of(runtime: Runtime, images: np.ndarray, runs: int = 50) -> List[LayerTime]:
    """Layers of a loaded network, the longest first.

    TensorRT runtimes report their own layers; of an ONNX file, a second session is profiled, with the same threads.

    Args:
        images: what ``runtime.run`` takes.
        runs: executions that count; a tenth more go before them.

    Raises:
        EngineError: if ``runs`` is below 1 or the runtime has no profiler.
    """
    if runs < 1:
        raise EngineError(f"layers are timed over at least 1 run, not {runs}")
    layer_times = getattr(runtime, "layer_times", None)
    if layer_times is not None:
        # Engines are made of ONNX nodes whose names the layers' names hold: the manifest keeps no list of them.
        return _ranked([(name, "", tuple(_named_in(name)), taken) for name, taken in layer_times(images, runs)])
    if runtime.name != "onnxruntime":
        raise EngineError(f"{runtime.name} does not tell what its layers take: profile the ONNX file in ONNX Runtime")
    return layers_from_trace(_trace(runtime, images, runs), read_onnx(runtime.path.read_bytes()), runs)


def layers_from_trace(events: Sequence[Mapping[str, Any]], onnx: OnnxFile, runs: int) -> List[LayerTime]:
    """Layers out of ONNX Runtime's trace; the first executions, beyond ``runs``, do not count.

    A fused layer is named by its last node, by the tensor that it writes, or by its convolution. The activations and sums around
    it that no other event names ran with it.
    """
    taken: Dict[str, List[float]] = defaultdict(list)
    kinds: Dict[str, str] = {}
    for event in events:
        name = str(event.get("name", ""))
        if event.get("cat") == "Node" and name.endswith("_kernel_time"):
            taken[name].append(float(event["dur"]) / 1e3)
            kinds[name] = str(event.get("args", {}).get("op_name", ""))
    groups = _grouped({name: (_node_of(name, dict(onnx.nodes)), kind) for name, kind in kinds.items()}, onnx)
    rows = [
        (name[: -len("_kernel_time")], kinds[name], groups[name], float(np.mean(times[-runs:]))) for name, times in taken.items()
    ]
    return _ranked(rows)


def layers_from_trtexec(content: Any) -> List[LayerTime]:
    """Layers out of the JSON that trtexec writes with --exportProfile: a list of a count and of names with averageMs.

    Raises:
        EngineError: if it is not such a list.
    """
    try:
        entries = [(str(entry["name"]), float(entry["averageMs"])) for entry in content if "name" in entry]
    except (TypeError, KeyError, ValueError) as error:
        raise EngineError(f"this is not a profile written by trtexec --exportProfile ({error}): write it anew") from error
    return _ranked([(name, "", tuple(_named_in(name)), taken) for name, taken in entries])


def to_trtexec(layers: Sequence[LayerTime], runs: int) -> List[Dict[str, Any]]:
    """The same in trtexec's --exportProfile form, for tools that read it."""
    rows = [
        {"name": layer.name, "timeMs": layer.mean_ms * runs, "averageMs": layer.mean_ms, "percentage": 100 * layer.share}
        for layer in layers
    ]
    return [{"count": runs}, *rows]


def _trace(runtime: Runtime, images: np.ndarray, runs: int) -> List[Dict[str, Any]]:
    """Events of ONNX Runtime's profiler, in a session of its own."""
    import onnxruntime as ort

    with tempfile.TemporaryDirectory(prefix="gearnn-profile-") as folder:
        options = ort.SessionOptions()
        options.intra_op_num_threads = runtime.threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 4
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(folder) / "trace")
        providers = list(getattr(runtime, "providers", ["CPUExecutionProvider"]))
        try:
            session = ort.InferenceSession(str(runtime.path), options, providers=providers)
            name = session.get_inputs()[0].name
            for _ in range(runs + max(1, runs // 10)):
                session.run(None, {name: images})
            trace: Union[str, Path] = session.end_profiling()
            events: List[Dict[str, Any]] = json.loads(Path(trace).read_text(encoding="utf-8"))
        except Exception as error:
            raise EngineError(f"ONNX Runtime could not profile the layers of {runtime.path} ({reason(error)})") from error
    return events


def _node_of(name: str, ops: Mapping[str, str]) -> Optional[str]:
    """The ONNX node that an event's name speaks of."""
    for candidate in (name[: -len("_kernel_time")], _MADE_BY_ORT.sub("", name)):
        if candidate in ops:
            return candidate
    return None


def _grouped(events: Mapping[str, Tuple[Optional[str], str]], onnx: OnnxFile) -> Dict[str, Tuple[str, ...]]:
    """Every event's ONNX nodes, in the file's order, of the one node that its name speaks of and its kind."""
    position = {name: place for place, (name, _) in enumerate(onnx.nodes)}
    owner = {node: event for event, (node, _) in events.items() if node}
    for event, (node, kind) in events.items():
        if node and kind.endswith("Conv") and dict(onnx.nodes)[node] != "Conv":
            # Named by its end: what comes before it, back to the convolution itself.
            for name, op in reversed(onnx.nodes[: position[node]]):
                if name not in owner and op in ("Conv", *_FOLLOWERS):
                    owner[name] = event
                    if op == "Conv":
                        break
    before: Optional[str] = None
    for name, op in onnx.nodes:
        if name in owner:
            before = owner[name]
        elif op in _FOLLOWERS and before is not None and events[before][1].endswith(("Conv", "Gemm")):
            owner[name] = before  # a residual sum and its ReLU, done while the convolution writes
    return {event: tuple(name for name, _ in onnx.nodes if owner.get(name) == event) for event in events}


def _named_in(name: str) -> List[str]:
    """ONNX nodes in TensorRT's name of a layer: "A + B", "PWN(A, B)", "{ForeignNode[A...B]}"; none in a reformat."""
    if name.startswith("Reformatting"):
        return []
    inner = _WRAPPED.sub("", name).rstrip(")]} ")
    return [part for part in (piece.strip(" ()[]{}") for piece in re.split(r"\s\+\s|\.\.\.|,\s*", inner)) if part]


def _ranked(rows: Sequence[Tuple[str, str, Tuple[str, ...], float]]) -> List[LayerTime]:
    total = sum(taken for *_, taken in rows) or 1.0
    layers = []
    for name, op, nodes, taken in rows:
        modules = tuple(dict.fromkeys(path for path in map(module_path, nodes) if path))
        layers.append(LayerTime(name, op, nodes, modules, taken, taken / total))
    return sorted(layers, key=lambda layer: -layer.mean_ms)
