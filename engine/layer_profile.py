"""What each layer of a deployed network takes, named by ONNX node and torch module.

ONNX Runtime's profiler counts whole microseconds and adds one or two to every node: small layers look slower than they are, and
the sum is more than a call takes. Read the shares. Runtimes fuse layers; a row is what ran as one.
"""

from __future__ import annotations

import json
import tempfile
from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple, Union

import numpy as np

from gearnn.engine.errors import EngineError, reason
from gearnn.engine.layer_names import ort_nodes, tensorrt_nodes
from gearnn.engine.manifest import read_manifest, sha256_of
from gearnn.engine.module_paths import module_path
from gearnn.engine.onnx_file import OnnxFile, read_onnx
from gearnn.engine.runtimes.base import Runtime

RUNS = 50
"""Executions that a profile is the mean of."""
ORT_NOTE = "ONNX Runtime's profiler adds 1 to 2 µs to every layer and counts whole µs: read the shares, not the sum"
_KERNEL = "_kernel_time"


@dataclass(frozen=True)
class LayerTime:
    """One layer as it ran.

    Attributes:
        name: the runtime's own.
        op: kind of operation, as the runtime calls it; "" where it does not tell.
        nodes: ONNX nodes it stands for; empty where the runtime made it up, to change a layout for instance.
        modules: torch modules of those nodes, or of the node that it serves, where their names say.
        mean_ms: mean over the executions; with ONNX Runtime without the slowest fifth, in which other programs had their turn.
        share: of the sum over all layers.
        provider: ONNX Runtime's execution provider that ran it.
    """

    name: str
    op: str
    nodes: Tuple[str, ...]
    modules: Tuple[str, ...]
    mean_ms: float
    share: float
    provider: str = ""


def profile_layers_of(runtime: Runtime, images: np.ndarray, runs: int = RUNS) -> List[LayerTime]:
    """Layers of a loaded network, the longest first.

    TensorRT runtimes report their own layers, which are mapped to the nodes of the ONNX file that the engine was built from if
    that lies beside it; of an ONNX file, a second session is profiled, with the same threads.

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
        return _of_tensorrt(layer_times(images, runs), _source_of(runtime.path))
    if runtime.name != "onnxruntime":
        raise EngineError(f"{runtime.name} does not tell what its layers take: profile the ONNX file in ONNX Runtime")
    return layers_from_trace(_trace(runtime, images, runs), read_onnx(runtime.path.read_bytes()), runs)


def layers_from_trace(events: Sequence[Mapping[str, Any]], onnx: OnnxFile, runs: int) -> List[LayerTime]:
    """Layers out of ONNX Runtime's trace; the first executions, beyond ``runs``, do not count."""
    taken: Dict[str, List[float]] = defaultdict(list)
    facts: Dict[str, Mapping[str, Any]] = {}
    for event in events:
        name = str(event.get("name", ""))
        if event.get("cat") == "Node" and name.endswith(_KERNEL):
            layer = name[: -len(_KERNEL)]
            taken[layer].append(float(event["dur"]) / 1e3)
            facts[layer] = event.get("args", {})
    nodes = ort_nodes({layer: str(known.get("op_name", "")) for layer, known in facts.items()}, onnx)
    rows = []
    for layer, times in taken.items():
        found, serves = nodes[layer]
        modules = _modules(found or ((serves,) if serves else ()))
        op, provider = str(facts[layer].get("op_name", "")), str(facts[layer].get("provider", ""))
        rows.append(LayerTime(layer, op, found, modules, _undisturbed(times[-runs:]), 0.0, provider))
    return _ranked(rows)


def _undisturbed(times: Sequence[float]) -> float:
    """Mean without the slowest fifth; a median would be a whole number of µs."""
    return float(np.mean(sorted(times)[: max(1, len(times) * 4 // 5)]))


def layers_from_trtexec(content: Any, onnx: Optional[OnnxFile] = None) -> List[LayerTime]:
    """Layers out of the JSON that trtexec writes with --exportProfile: a list of a count and of names with averageMs.

    Args:
        onnx: the file that the engine was built from, see `tensorrt_nodes`.

    Raises:
        EngineError: if it is not such a list.
    """
    try:
        entries = [(str(entry["name"]), float(entry["averageMs"])) for entry in content if "name" in entry]
    except (TypeError, KeyError, ValueError) as error:
        raise EngineError(f"this is not a profile written by trtexec --exportProfile ({error}): write it anew") from error
    return _of_tensorrt(entries, onnx)


def to_trtexec(layers: Sequence[LayerTime], runs: int) -> List[Dict[str, Any]]:
    """The same in trtexec's --exportProfile form, for tools that read it."""
    rows = [
        {"name": layer.name, "timeMs": layer.mean_ms * runs, "averageMs": layer.mean_ms, "percentage": 100 * layer.share}
        for layer in layers
    ]
    return [{"count": runs}, *rows]


def _of_tensorrt(times: Sequence[Tuple[str, float]], onnx: Optional[OnnxFile]) -> List[LayerTime]:
    rows = []
    for name, taken in times:
        nodes = tensorrt_nodes(name, onnx)
        rows.append(LayerTime(name, "", nodes, _modules(nodes), taken, 0.0))
    return _ranked(rows)


def _source_of(engine: Path) -> Optional[OnnxFile]:
    """The ONNX file beside an engine that its manifest says it was built from."""
    try:
        digest = read_manifest(engine).onnx_sha256
        source = next((path for path in sorted(engine.parent.glob("*.onnx")) if digest and sha256_of(path) == digest), None)
        return read_onnx(source.read_bytes()) if source else None
    except (EngineError, OSError, ValueError):
        return None


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


def _modules(nodes: Sequence[str]) -> Tuple[str, ...]:
    return tuple(dict.fromkeys(path for path in map(module_path, nodes) if path))


def _ranked(layers: Sequence[LayerTime]) -> List[LayerTime]:
    """With their shares, the longest first."""
    total = sum(layer.mean_ms for layer in layers) or 1.0
    return sorted((replace(layer, share=layer.mean_ms / total) for layer in layers), key=lambda layer: -layer.mean_ms)
