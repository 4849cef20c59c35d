"""A network at lower precisions: which images calibrate it, and which layers stay in floating point until it is good enough."""

from __future__ import annotations

from pathlib import Path
from typing import Callable, Iterator, Tuple

import numpy as np

from gearnn.data import Split
from gearnn.engine.calibration import BATCH, CALIBRATING, batches, choose
from gearnn.engine.float16 import to_fp16
from gearnn.engine.quantize import to_int8
from gearnn.engine.runtimes import load_runtime
from gearnn.engine.sensitivity import keep_for
from gearnn.gate import verdicts
from gearnn.progress import Progress, no_progress
from gearnn.robustness import benchmark_models

_SEARCH_IMAGES = 500  # training images on which layers are chosen: the test images judge the outcome only
_SEARCH_SEVERITIES = (3,)


def convert(
    onnx: Path,
    precision: str,
    training: Split,
    *,
    images: int = 512,
    keep: Tuple[str, ...] = (),
    keep_worst: int = 0,
    max_drop: float = 1.0,
    runtime: str = "tensorrt",
    threads: int = 1,
    seed: int = 0,
    progress: Progress = no_progress,
) -> Path:
    """Write an FP16 or INT8 version of an FP32 file beside it, as ``<name>.<precision>.onnx``.

    Args:
        training: uint8 images that calibrate it; none of the test images may be among them.
        images: how many of them, drawn with ``seed``.
        keep: ONNX nodes that stay in floating point.
        keep_worst: of INT8, how many more may, the most sensitive first, until clean and robust accuracy on some training images
            are within ``max_drop`` points of FP32's.
        runtime: that INT8 is placed for, "tensorrt" or "onnxruntime" (see `to_int8`).

    Raises:
        EngineError: for names that are no nodes, images that do not fit, or a file that cannot be written.
    """
    out = onnx.with_name(f"{onnx.stem}.{precision}.onnx")
    with load_runtime(onnx, threads=1) as loaded:
        prepare = loaded.prepare
    chosen = choose(len(training.labels), images, seed)
    total = -(-len(chosen) // BATCH)

    def report(label: str, done: int, of: int) -> None:
        progress(label, done, max(of, total) if label == CALIBRATING else of)

    def calibration() -> Iterator[np.ndarray]:
        return batches(training.images, chosen, prepare)

    if precision == "fp16":
        return to_fp16(onnx, out, keep, calibration=calibration, progress=report)
    if keep_worst == 0:
        return to_int8(onnx, out, calibration, keep=keep, runtime=runtime, progress=report)
    judged = _drop_on(onnx, training, threads, seed)
    return keep_for(onnx, out, calibration, judged, -max_drop, most=keep_worst, keep=keep, runtime=runtime, progress=report).path


def _drop_on(onnx: Path, training: Split, threads: int, seed: int) -> Callable[[Path], float]:
    """The larger drop, clean or robust, of a file below FP32 on some training images, in points; negated: larger is better."""
    chosen = choose(len(training.labels), _SEARCH_IMAGES, seed + 1)
    part = Split(np.ascontiguousarray(training.images[chosen]), training.labels[chosen])

    def judged(path: Path) -> float:
        with load_runtime(onnx, threads=threads) as reference, load_runtime(path, threads=threads) as candidate:
            models = {"fp32": reference, "candidate": candidate}
            found = verdicts(benchmark_models(models, part, severities=_SEARCH_SEVERITIES, seed=seed))["candidate"]
        return -max(found.clean_drop, found.robust_drop)

    return judged
