"""``gearnn bench engine``: one image through grown networks, in torch and in the engine, call by call in turn."""

from __future__ import annotations

import contextlib
import importlib.util
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping, Sequence, Tuple

import numpy as np
import torch
from torch import nn

from gearnn.bench.pictures import textured
from gearnn.engine.errors import EngineError, reason
from gearnn.engine.export import export_onnx
from gearnn.engine.quantize import to_int8
from gearnn.engine.runtimes.onnxruntime import CPU, OnnxRuntime
from gearnn.models import count_parameters, create_model, deployable, scaled_widths
from gearnn.network import load_deployable
from gearnn.progress import Progress, no_progress

NOTES = {
    "eager": "the torch network in eval mode, under inference_mode, tensor in to tensor out",
    "engine": "gearnn.engine's Runtime.run on the exported file, array in to array out",
    "bare": "the same ONNX Runtime session called directly, without Runtime.run's checks",
    "engine-int8": "Runtime.run on the INT8 file for ONNX Runtime, calibrated on 64 generated pictures",
    "compile": "torch.compile of the eager network, its default mode",
    "openvino": "OpenVINO on the same file, latency hint, same threads",
    "latency_ms_p50": "milliseconds a call, median of n calls, timed one by one; q25 and q75 are their quartiles",
    "ratio_to_eager": "eager's median over this one's, called in turn with it in the same process",
    "overhead_us": "what a call of engine takes more than bare's right after it, microseconds, median of pairs",
}
"""What the names in a row mean."""
NETWORKS = ("vgg19", "mobilenet_v1", "resnet18")
_MEAN, _STD, _CLASSES, _SIZE = (0.49, 0.48, 0.45), (0.25, 0.24, 0.26), 10, 32
_IN_A_ROW = 20  # calls of one candidate before the next one's: caches are its own then, as in use
_PAUSE = 0.005  # seconds before a turn: waiting threads of the candidate before must not hold the cores
_UNTIMED = 3  # of those, the first
_ALLOWED = {"engine-int8": 0.5}  # L2 norm of the logits' differences over that of eager's; of other candidates:
_EXACT = 1e-4
_CALIBRATION = 64  # pictures

Job = Callable[[], Any]


def bench_engine(
    networks: Sequence[str] = NETWORKS,
    threads: Sequence[int] = (1, 2),
    *,
    width: float = 0.25,
    seconds: float = 3.0,
    compiled: bool = False,
    seed: int = 0,
    progress: Progress = no_progress,
) -> Tuple[List[Dict[str, Any]], List[Dict[str, str]]]:
    """Latency at batch 1 of every candidate.

    Args:
        networks: architectures, at ``width`` times their full widths with random weights, or run folders.
        threads: of the CPU, for torch and for the engine.
        seconds: of calls for each network and number of threads, after warming up; engine and bare take some more, in pairs.
        compiled: time torch.compile too; it compiles for half a minute a network.

    Returns:
        The rows, whose names ``NOTES`` explains, and what was skipped with the reason.

    Raises:
        UserError, EngineError: for an unknown network, one that cannot be exported, or candidates whose logits differ.
    """
    results: List[Dict[str, Any]] = []
    skipped: List[Dict[str, str]] = [] if compiled else [{"name": "compile", "reason": "not asked for: --compile"}]
    torch_threads = torch.get_num_threads()
    try:
        for done, name in enumerate(networks):
            model, shape = _network(name, width, seed)
            for count in threads:
                progress("latency", done * len(threads) + list(threads).index(count), len(networks) * len(threads))
                torch.set_num_threads(count)
                with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
                    path = export_onnx(model, shape, Path(folder) / "net.onnx")
                    jobs, missing = _jobs(model, shape, path, count, compiled, seed, stack)
                    skipped += [entry for entry in missing if entry not in skipped]
                    taken = in_turn(jobs, seconds)
                    more = surplus(jobs["engine"], jobs["bare"], seconds / len(jobs))
                results += _rows(taken, more, name, count, {"params": count_parameters(model), "width": width, "batch": 1})
        progress("latency", len(networks) * len(threads), len(networks) * len(threads))
    finally:
        torch.set_num_threads(torch_threads)
    return results, skipped


def in_turn(jobs: Mapping[str, Job], seconds: float) -> Dict[str, np.ndarray]:
    """Seconds of single calls of each job, float64 (n,): some in a row, then the next job's, in an order that rotates."""
    taken: Dict[str, List[float]] = {name: [] for name in jobs}
    names, rounds = list(jobs), 0
    end = time.perf_counter() + seconds
    while rounds < len(names) or time.perf_counter() < end:
        turn = rounds % len(names)
        for name in names[turn:] + names[:turn]:
            job = jobs[name]
            time.sleep(_PAUSE)
            for call in range(_IN_A_ROW):
                start = time.perf_counter()
                job()
                if call >= _UNTIMED:
                    taken[name].append(time.perf_counter() - start)
        rounds += 1
    return {name: np.array(times) for name, times in taken.items()}


def surplus(job: Job, simpler: Job, seconds: float) -> float:
    """Seconds that a call takes more than the simpler one's right after it, median of pairs: some microseconds, which medians of
    calls that are further apart do not tell from the machine's own changes."""
    more: List[float] = []
    end = time.perf_counter() + seconds
    while len(more) < _IN_A_ROW or time.perf_counter() < end:
        start = time.perf_counter()
        job()
        half = time.perf_counter()
        simpler()
        more.append(2 * half - start - time.perf_counter())
    return float(np.median(more))


def _network(name: str, width: float, seed: int) -> Tuple[nn.Module, Tuple[int, int, int]]:
    if Path(name).is_dir():
        model, card = load_deployable(Path(name) / "model.safetensors")
        return model, (card.in_chans, card.image_size, card.image_size)
    torch.manual_seed(seed)
    return deployable(create_model(name, _CLASSES, scaled_widths(name, width)), _MEAN, _STD).eval(), (3, _SIZE, _SIZE)


def _jobs(
    model: nn.Module,
    shape: Tuple[int, int, int],
    path: Path,
    threads: int,
    compiled: bool,
    seed: int,
    stack: contextlib.ExitStack,
) -> Tuple[Dict[str, Job], List[Dict[str, str]]]:
    """The candidates, their logits compared; and those that cannot be had."""
    pixels = textured(1, shape[1], seed)[:, : shape[0]]
    images = np.ascontiguousarray(pixels).astype(np.float32) / 255
    tensor = torch.from_numpy(images)
    runtime = stack.enter_context(OnnxRuntime.load(path, threads, providers=(CPU,)))
    few = runtime.prepare(np.ascontiguousarray(textured(_CALIBRATION, shape[1], seed + 1)[:, : shape[0]]))
    small = to_int8(path, path.with_name("int8.onnx"), [few], runtime="onnxruntime")
    in_int8 = stack.enter_context(OnnxRuntime.load(small, threads, providers=(CPU,)))
    session = runtime._session
    stack.enter_context(torch.inference_mode())
    jobs: Dict[str, Job] = {
        "eager": lambda: model(tensor),
        "engine": lambda: runtime.run(images),
        "bare": lambda: session.run(["logits"], {"images": images})[0],
        "engine-int8": lambda: in_int8.run(images),
    }
    missing = []
    for name, make in (("compile", lambda: _compiled(model, tensor)), ("openvino", lambda: _openvino(path, images, threads))):
        if name == "compile" and not compiled:
            continue
        try:
            jobs[name] = make()
        except Exception as error:  # a peer's compiler may fail in any way; it is named, the others are timed
            missing.append({"name": name, "reason": reason(error)})
    wanted = np.asarray(jobs["eager"]())
    for name, job in jobs.items():
        gap = float(np.linalg.norm(np.asarray(job()) - wanted) / np.linalg.norm(wanted))
        if not gap <= _ALLOWED.get(name, _EXACT):
            raise EngineError(f"{name} gives other logits than torch (by {gap:.3g}): a time of it would mean nothing")
    return jobs, missing


def _compiled(model: nn.Module, tensor: torch.Tensor) -> Job:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fast = torch.compile(model)
        fast(tensor)
    return lambda: fast(tensor)


def _openvino(path: Path, images: np.ndarray, threads: int) -> Job:
    if importlib.util.find_spec("openvino") is None:
        raise EngineError("not installed: pip install openvino")
    import openvino

    options = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
    network = openvino.Core().compile_model(str(path), "CPU", options)
    request = network.create_infer_request()
    return lambda: request.infer({0: images}, share_inputs=True)[0]


def _rows(taken: Mapping[str, np.ndarray], more: float, net: str, threads: int, facts: Mapping[str, Any]) -> List[Dict[str, Any]]:
    medians = {name: float(np.median(times)) for name, times in taken.items()}
    rows = []
    for name, times in taken.items():
        q25, q75 = (float(value) for value in np.percentile(times, (25, 75)) * 1e3)
        row = {
            "name": name, "net": net, "threads": threads, "latency_ms_p50": 1e3 * medians[name], "q25": q25, "q75": q75,
            "n": len(times), "ratio_to_eager": medians["eager"] / medians[name], **facts,
        }  # fmt: skip
        if name == "engine":
            row["overhead_us"] = 1e6 * more
        rows.append(row)
    return rows
