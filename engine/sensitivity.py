"""Which layers suffer from INT8, and how few of them must stay in floating point for the network to be good enough."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, Iterable, Iterator, List, Sequence, Tuple, Union

import numpy as np

from gearnn.engine.calibration import Batches, Progress, Ranges, no_progress
from gearnn.engine.errors import EngineError, reason
from gearnn.engine.qdq import insert, quantizable
from gearnn.engine.quantize import calibrated, write_int8

if TYPE_CHECKING:
    import onnx

EXACT_DB = 120.0
"""Signal-to-noise ratio given where the difference is below FP32's own rounding."""


@dataclass(frozen=True)
class Sensitivity:
    """What quantising one layer alone does to the network.

    Attributes:
        name, operator: of the ONNX node.
        weights: how many it has.
        sqnr_db: signal-to-quantisation-noise ratio of the logits, 10 log10(Σ fp32² / Σ (fp32 - int8)²); at most `EXACT_DB`.
        top1_agreement: fraction of images whose class stays the same.
    """

    name: str
    operator: str
    weights: int
    sqnr_db: float
    top1_agreement: float


@dataclass(frozen=True)
class Mixed:
    """A network whose worst layers stay in floating point.

    Attributes:
        path: of the file.
        keep: layers in floating point, those asked for first, then the most sensitive.
        accuracy: what the caller's function said of it.
        reached: whether that is enough.
        tried: (layers left in floating point beyond those asked for, accuracy) of every file tried.
    """

    path: Path
    keep: Tuple[str, ...]
    accuracy: float
    reached: bool
    tried: Tuple[Tuple[int, float], ...]


def sensitivity(
    onnx_path: Union[str, Path],
    calibration: Batches,
    *,
    keep: Sequence[str] = (),
    method: str = "minmax",
    runtime: str = "tensorrt",
    images: int = 256,
    progress: Progress = no_progress,
) -> Tuple[Sensitivity, ...]:
    """Quantise each layer alone and compare the logits with FP32's, in ONNX Runtime.

    Args:
        onnx_path, calibration, keep, method, runtime: as of `to_int8`.
        images: of the calibration images, how many the logits are compared on; only these are held in memory.
        progress: called after each array of calibration images, then after each layer.

    Returns:
        One row for each layer, the most sensitive (lowest ratio) first.

    Raises:
        EngineError: as `to_int8`, and if fewer than one image is to be compared on.
    """
    model, ranges, pictures = _calibrated_with_pictures(onnx_path, calibration, keep, method, runtime, images, progress)
    return _rank(model, ranges, pictures, keep, runtime, progress)


def keep_for(
    onnx_path: Union[str, Path],
    out_path: Union[str, Path],
    calibration: Batches,
    accuracy: Callable[[Path], float],
    target: float,
    *,
    most: int = 8,
    keep: Sequence[str] = (),
    method: str = "minmax",
    runtime: str = "tensorrt",
    images: int = 256,
    progress: Progress = no_progress,
) -> Mixed:
    """Write an INT8 network that is accurate enough, with as few layers in floating point as a greedy search needs.

    Layers join those in floating point in the order of their sensitivity, one at a time, until the target is reached. If ``most``
    layers are not enough, the most accurate network tried is written.

    Args:
        onnx_path, calibration, keep, method, runtime, images: as of `sensitivity`.
        out_path: written whole or not at all.
        accuracy: of an ONNX file, larger is better; it is called with temporary files.
        target: accuracy that is enough.
        most: layers left in floating point at most, beyond ``keep``.
        progress: called after each array of calibration images, each layer, and each network tried.

    Raises:
        EngineError: as `sensitivity`, and if ``most`` is negative.
    """
    if most < 0:
        raise EngineError(f"the number of layers left in floating point must be 0 or more, not {most}")
    model, ranges, pictures = _calibrated_with_pictures(onnx_path, calibration, keep, method, runtime, images, progress)
    kept, tried = tuple(keep), []
    order: Tuple[str, ...] = ()
    with tempfile.TemporaryDirectory(prefix="gearnn-int8-") as folder:
        count = 0
        while True:
            candidate = write_int8(model, Path(folder) / f"{count}.onnx", ranges, kept + order[:count], runtime)
            tried.append((count, float(accuracy(candidate))))
            progress("keeping layers in floating point", count, most)
            if tried[-1][1] >= target or count >= most:
                break
            if not order:
                order = tuple(row.name for row in _rank(model, ranges, pictures, keep, runtime, progress))[:-1]
                most = min(most, len(order))
                if not order:
                    break
            count += 1
    reached = tried[-1][1] >= target
    best, found = tried[-1] if reached else max(tried, key=lambda entry: (entry[1], -entry[0]))
    names = kept + order[:best]
    return Mixed(write_int8(model, out_path, ranges, names, runtime), names, found, reached, tuple(tried))


def _calibrated_with_pictures(
    onnx_path: Union[str, Path],
    calibration: Batches,
    keep: Sequence[str],
    method: str,
    runtime: str,
    images: int,
    progress: Progress,
) -> Tuple[onnx.ModelProto, Ranges, List[np.ndarray]]:
    """As `calibrated`, and the first images that passed: the source may be one that can be read only once."""
    if images < 1:
        raise EngineError(f"layers are compared on at least 1 image, not {images}")
    pictures: List[np.ndarray] = []

    def watch(source: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        held = 0
        for array in source:
            if held < images and isinstance(array, np.ndarray):
                pictures.append(np.array(array[: images - held]))
                held += len(pictures[-1])
            yield array

    source = calibration() if callable(calibration) else calibration
    model, ranges = calibrated(onnx_path, watch(source), keep, method, runtime, progress)
    return model, ranges, pictures


def _rank(
    model: onnx.ModelProto, ranges: Ranges, pictures: List[np.ndarray], keep: Sequence[str], runtime: str, progress: Progress
) -> Tuple[Sensitivity, ...]:
    layers = quantizable(model)
    reference = _logits(model, pictures)
    power, classes = float((reference**2).sum()), reference.argmax(axis=1)
    candidates = [layer for layer in layers if layer.name not in keep]
    rows = []
    for index, layer in enumerate(candidates):
        others = [other.name for other in layers if other.name != layer.name]
        logits = _logits(insert(model, ranges.limits, others, runtime), pictures)
        noise = float(((logits - reference) ** 2).sum())
        ratio = EXACT_DB if noise <= power * 10 ** (-EXACT_DB / 10) else 10 * np.log10(power / noise)
        agreement = float((logits.argmax(axis=1) == classes).mean())
        rows.append(Sensitivity(layer.name, layer.operator, layer.weights, float(ratio), agreement))
        progress("quantising layer by layer", index + 1, len(candidates))
    return tuple(sorted(rows, key=lambda row: row.sqnr_db))


def _logits(model: onnx.ModelProto, pictures: Sequence[np.ndarray]) -> np.ndarray:
    """float64 (N, K)."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = 4
    try:
        session: Any = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        entry = session.get_inputs()[0]
        fixed = entry.shape[0] if isinstance(entry.shape[0], int) else None
        outputs = []
        for array in pictures:
            for part in np.split(array, range(fixed, len(array), fixed)) if fixed else [array]:
                filled = np.resize(part, (fixed or len(part), *part.shape[1:]))
                outputs.append(session.run(None, {entry.name: filled})[0][: len(part)])
    except Exception as error:
        raise EngineError(f"ONNX Runtime cannot run the network to compare it ({reason(error)}): export it again") from error
    return np.concatenate(outputs).astype(np.float64)
