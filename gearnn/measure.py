"""Puts networks into the inference engine and judges them there."""

from __future__ import annotations

import contextlib
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

import numpy as np
import torch
from torch import nn

from gearnn.data import Split
from gearnn.engine.compare import Comparison, compare
from gearnn.engine.errors import EngineError
from gearnn.engine.export import export_onnx
from gearnn.engine.layer_profile import profile_layers_of
from gearnn.engine.profile import p50_in_turn, profile_latency
from gearnn.engine.profile import random_images as random_batch
from gearnn.engine.runtimes import load_runtime
from gearnn.engine.runtimes.base import Runtime
from gearnn.models import count_macs, count_parameters
from gearnn.network import load_deployable
from gearnn.progress import Progress
from gearnn.records import per_class
from gearnn.robustness import benchmark_models
from gearnn.robustness.corruptions import SEVERITIES

OPSET = 13  # what TensorRT 8.5, JetPack 5's, surely reads
_ROUNDS = 5  # of timing several networks
_PAUSE = 0.005  # seconds before a turn: waiting threads of the network before must not hold the cores
_TOP1 = 0.98  # trained networks have near-ties: a class that flips between logits within the tolerance is no disagreement


def deploy(
    weights: Path,
    onnx: Path,
    images: np.ndarray,
    threads: Optional[int],
    opset: int = OPSET,
    *,
    check: bool = True,
    pixels: bool = False,
    batch: Optional[int] = None,
    metadata: Optional[Mapping[str, str]] = None,
) -> Dict[str, Any]:
    """Export a network that this project has trained, and hold the engine against torch on uint8 ``images`` (N, C, H, W).

    With ``check`` False a difference is told in the facts, not raised. ``pixels``, ``batch`` and ``metadata``
    (which comes on top of the network's own) are as in `export_onnx`.

    Returns:
        JSON-ready facts: parameters, multiply-accumulates per image, widths, file size, the comparison (None for what is not
        finite), and "disagreement": why the engine is not to be trusted, in a sentence, or None.

    Raises:
        UserError, EngineError: if the weights cannot be read or the export fails; with ``check`` also if the engine's logits
            differ by more than `Comparison.allowed`, or its top class on more than 2 % of the images.
    """
    model, card = load_deployable(weights)
    shape = (card.in_chans, card.image_size, card.image_size)
    strings = {**card.to_metadata(), **(metadata or {})}
    facts = deploy_module(model, shape, onnx, images, threads, opset, check=check, pixels=pixels, batch=batch, metadata=strings)
    return {**facts, "widths": list(card.widths)}


def deploy_module(
    model: nn.Module,
    shape: Tuple[int, int, int],
    onnx: Path,
    images: np.ndarray,
    threads: Optional[int],
    opset: int = OPSET,
    *,
    check: bool = True,
    pixels: bool = False,
    batch: Optional[int] = None,
    metadata: Optional[Mapping[str, str]] = None,
) -> Dict[str, Any]:
    """`deploy` for any module from float32 (B, C, H, W) in [0, 1] to (B, K); ``shape`` is (C, H, W)."""
    model.eval()
    export_onnx(model, shape, onnx, opset=opset, metadata=metadata, pixels=pixels, batch=batch)
    comparison = agreement(model, onnx, images, threads, batch)
    if check:
        comparison.check(top1=_TOP1)
    return {
        "params": count_parameters(model),
        "macs": count_macs(model, shape),
        "onnx_bytes": onnx.stat().st_size,
        "opset": opset,
        "comparison": {name: value if math.isfinite(value) else None for name, value in asdict(comparison).items()},
        "disagreement": disagreement(comparison),
    }


def agreement(
    model: nn.Module, onnx: Path, images: np.ndarray, threads: Optional[int], batch: Optional[int] = None
) -> Comparison:
    """A network in eval mode, which takes float32 in [0, 1], against its engine on uint8 ``images`` (N, C, H, W).

    Args:
        batch: the one batch size that the engine takes, where it takes no other.
    """

    def reference(together: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return np.asarray(model(torch.from_numpy(together.astype(np.float32)) / 255).numpy())

    whole = images if batch is None else np.resize(images, (-(-len(images) // batch) * batch, *images.shape[1:]))
    with load_runtime(onnx, threads=threads) as runtime:
        return compare(reference, lambda together: runtime.run(runtime.prepare(together)), whole, batch_size=batch or 64)


def disagreement(comparison: Comparison) -> Optional[str]:
    """Why an engine is not to be trusted, in a sentence; None if it computes what torch does."""
    try:
        comparison.check(top1=_TOP1)
    except EngineError as error:
        return str(error)
    return None


def random_images(shape: Tuple[int, int, int], seed: int, count: int = 64) -> np.ndarray:
    """uint8 (count, C, H, W), every pixel drawn by itself."""
    return np.random.default_rng(seed).integers(0, 256, (count, *shape), dtype=np.uint8)


def judge(
    onnx_files: Mapping[str, Path],
    data: Split,
    seed: int,
    threads: int,
    progress: Progress,
    severities: Sequence[int] = SEVERITIES,
    classes: Sequence[str] = (),
) -> Dict[str, Dict[str, Any]]:
    """Clean and robust accuracy of several deployed networks, each on its engine, on the same generated corruptions.

    Where ``classes`` are named, with `per_class` of the clean images.
    """
    runtimes = {name: load_runtime(path, threads=threads) for name, path in onnx_files.items()}
    try:
        reports = benchmark_models(runtimes, data, severities=severities, seed=seed, workers=threads, progress=progress)
    finally:
        for runtime in runtimes.values():
            runtime.close()
    scores: Dict[str, Dict[str, Any]] = {}
    for name, report in reports.items():
        scores[name] = {"clean_accuracy": report.clean, "robust_accuracy": report.robust, "robustness": report.to_dict()}
        if classes and report.named is not None:
            scores[name]["per_class"] = per_class(np.asarray(data.labels), report.named, classes)
    return scores


def time_engine(onnx: Path, threads: int, seed: int) -> Dict[str, Any]:
    """Latency of a deployed network at batch 1 and 32, with its conditions, and of each layer at batch 1.

    "layers" is None where the runtime does not tell what its layers take.
    """
    with load_runtime(onnx, threads=threads) as runtime:
        latencies: List[Dict[str, Any]] = [asdict(latency) for latency in profile_latency(runtime, seed=seed)]
        return {
            "runtime": runtime.name,
            "version": runtime.version,
            "threads": runtime.threads,
            "latency_ms_p50": latencies[0]["p50_ms"],
            "latency": latencies,
            "layers": _layers(runtime, seed),
        }


def latencies(onnx_files: Mapping[str, Path], threads: int, seed: int) -> Dict[str, float]:
    """Milliseconds for one image on each network: medians of the p50s of a few rounds, in which they are timed in turn."""
    with contextlib.ExitStack() as stack:
        runtimes = [stack.enter_context(load_runtime(path, threads=threads)) for path in onnx_files.values()]
        found = p50_in_turn(runtimes, rounds=_ROUNDS, iterations=20, warmup=5, seed=seed, pause=_PAUSE)
    return dict(zip(onnx_files, np.median(found, axis=0).tolist()))


def _layers(runtime: Runtime, seed: int) -> Optional[List[Dict[str, Any]]]:
    try:
        return [asdict(layer) for layer in profile_layers_of(runtime, random_batch(runtime, 1, seed))]
    except EngineError:
        return None
