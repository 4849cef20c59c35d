"""The range of every activation that is to be quantised, from real images that pass through the network once.

Images go through a few at a time, and only a histogram of each tensor is kept: memory does not grow with their number.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Callable, Dict, Iterable, Iterator, List, Sequence, Sized, Tuple, Union

import numpy as np

from gearnn.engine.errors import EngineError, reason
from gearnn.engine.onnx_model import import_onnx

if TYPE_CHECKING:
    import onnx

COUNT, BATCH = 512, 32
CALIBRATING = "calibrating"
"""Label of its progress."""
METHODS = ("minmax", "percentile", "entropy")
PERCENTILE = 99.99
Batches = Union[Iterable[np.ndarray], Callable[[], Iterable[np.ndarray]]]
Progress = Callable[[str, int, int], None]

_BINS = 2048
_LEVELS = 128  # magnitudes of a symmetric 8-bit number
_STEP = 8  # bins between two thresholds that are tried
_WORKING_SET = 64 << 20  # bytes of activations held at once


def no_progress(label: str, done: int, total: int) -> None:
    """Say nothing."""


@dataclass(frozen=True)
class Ranges:
    """What calibration found.

    Attributes:
        limits: tensor → (low, high) that are to be told apart; low <= 0 <= high.
        sha256: over the method, the images' type and shape, and their bytes in the order given, however they were batched.
        images: how many.
        method: one of `METHODS`.
    """

    limits: Dict[str, Tuple[float, float]]
    sha256: str
    images: int
    method: str

    def to_metadata(self) -> Dict[str, str]:
        """For the metadata properties of a file: "calibration_sha256", and "calibration" (JSON: method, images)."""
        about = json.dumps({"method": self.method, "images": self.images})
        return {"calibration_sha256": self.sha256, "calibration": about}


def choose(available: int, count: int = COUNT, seed: int = 0) -> np.ndarray:
    """Which images calibrate: int64 (min(count, available),), drawn without replacement, in ascending order.

    Raises:
        EngineError: if there are none, or none are wanted.
    """
    if available < 1 or count < 1:
        raise EngineError(f"calibration needs images: {count} wanted of {available}, give at least one (some hundreds are usual)")
    drawn = np.random.default_rng(seed).permutation(available)[:count]
    return np.sort(drawn).astype(np.int64)


def batches(
    images: np.ndarray, chosen: np.ndarray, prepare: Callable[[np.ndarray], np.ndarray], size: int = BATCH
) -> Iterator[np.ndarray]:
    """The chosen images as a network takes them, read and prepared batch by batch.

    Args:
        images: (N, ...), in memory or a memmap.
        chosen: int64 (n,), as from `choose`.
        prepare: from a part of ``images`` to the network's input, as `Runtime.prepare`.
    """
    for start in range(0, len(chosen), size):
        yield prepare(images[chosen[start : start + size]])


def collect(
    model: onnx.ModelProto,
    tensors: Sequence[str],
    calibration: Batches,
    method: str = "minmax",
    progress: Progress = no_progress,
) -> Ranges:
    """Run the images through the network in ONNX Runtime and take the range of each tensor.

    "minmax" takes the extremes; "percentile" the magnitude that 99.99 % of the values stay below (Wu et al., "Integer
    quantization for deep learning inference", 2020); "entropy" the magnitude at which the values and their 8-bit version differ
    least by Kullback-Leibler divergence (Migacz, "8-bit inference with TensorRT", GTC 2017; here in steps of 8 of 2048 bins).

    Args:
        model: with one image input of fixed size.
        tensors: names of FP32 tensors in it.
        calibration: arrays as the network takes them, (b, C, H, W) float32 or (b, H, W, C) uint8, each of any number of images;
            or a function that gives them.
        progress: called after each array, with their number where it is known.

    Raises:
        EngineError: for an unknown method, or images that are missing, of the wrong type or shape, not finite, or all one value.
    """
    if method not in METHODS:
        raise EngineError(f"there is no calibration method {method!r}: choose from {', '.join(METHODS)}")
    session, name, dtype, shape = _session(model, tensors)
    histograms = {tensor: _Histogram(keep_counts=method != "minmax") for tensor in tensors}
    digest, seen, low, high, share = hashlib.sha256(), 0, np.inf, -np.inf, 1
    source = calibration() if callable(calibration) else calibration
    total = len(source) if isinstance(source, Sized) else 0
    for index, array in enumerate(source):
        _check(array, dtype, shape)
        if not seen:
            digest.update(f"{method} {array.dtype} {array.shape[1:]}".encode())
        digest.update(np.ascontiguousarray(array).data)
        seen += len(array)
        low, high = min(low, array.min()), max(high, array.max())
        for part in _parts(array, shape[0] or share, fixed=shape[0] is not None):
            outputs = _run(session, tensors, name, part)
            for tensor, values in zip(tensors, outputs):
                histograms[tensor].add(values)
            each = sum(values.nbytes for values in outputs) // len(part)
            share = max(1, min(len(array), _WORKING_SET // max(1, each)))
        progress(CALIBRATING, index + 1, max(total, index + 1))
    if not seen:
        raise EngineError("no calibration images were given: give some hundreds of training images")
    if low == high:
        raise EngineError(f"all {seen} calibration images hold the one value {low}: give real images")
    return Ranges(
        {tensor: histogram.limits(method) for tensor, histogram in histograms.items()}, digest.hexdigest(), seen, method
    )


def _session(model: onnx.ModelProto, tensors: Sequence[str]) -> Tuple[Any, str, np.dtype, Tuple[Any, ...]]:
    """A session that gives the tensors, and name, type and shape (None where open) of its input."""
    import onnxruntime as ort

    onnx = import_onnx()
    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    outputs = {value.name for value in watched.graph.output}
    for tensor in tensors:
        if tensor not in outputs:
            watched.graph.output.append(onnx.helper.make_tensor_value_info(tensor, onnx.TensorProto.FLOAT, None))
    options = ort.SessionOptions()
    options.log_severity_level = 4
    # Activations are held a moment only: an arena would keep the memory of the largest batch.
    options.enable_cpu_mem_arena = False
    try:
        session = ort.InferenceSession(watched.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise EngineError(f"ONNX Runtime cannot run the network to calibrate it ({reason(error)}): export it again") from error
    entry = session.get_inputs()[0]
    shape = tuple(size if isinstance(size, int) else None for size in entry.shape)
    return session, entry.name, np.dtype(np.uint8 if entry.type == "tensor(uint8)" else np.float32), shape


def _run(session: Any, tensors: Sequence[str], name: str, images: np.ndarray) -> List[np.ndarray]:
    try:
        outputs: List[np.ndarray] = session.run(list(tensors), {name: images})
    except Exception as error:
        raise EngineError(f"the network failed on calibration images ({reason(error)}): export it again") from error
    return outputs


def _check(array: object, dtype: np.dtype, shape: Tuple[Any, ...]) -> None:
    wanted = "(" + ", ".join("any" if size is None else str(size) for size in (None, *shape[1:])) + ")"
    if not isinstance(array, np.ndarray) or array.dtype != dtype or array.shape[1:] != shape[1:] or array.ndim != 4:
        got = f"{array.dtype} {array.shape}" if isinstance(array, np.ndarray) else type(array).__name__
        raise EngineError(f"calibration images must be {dtype} arrays of shape {wanted} as the network takes them, got {got}")
    if len(array) == 0:
        raise EngineError("a batch of calibration images is empty: give at least one image in each")
    if dtype.kind == "f" and not np.isfinite(array).all():
        raise EngineError("calibration images hold values that are not finite: check how they were prepared")


def _parts(array: np.ndarray, size: int, fixed: bool) -> Iterator[np.ndarray]:
    """At most ``size`` images at a time; exactly so many where the network's batch is fixed, some of them twice."""
    for start in range(0, len(array), size):
        part = np.ascontiguousarray(array[start : start + size])
        yield np.resize(part, (size, *part.shape[1:])) if fixed and len(part) < size else part


class _Histogram:
    """Extremes and, if wanted, counts of magnitudes over [0, width), the width doubling as larger values come."""

    def __init__(self, keep_counts: bool) -> None:
        self._low = self._high = 0.0
        self._counts = np.zeros(_BINS, np.int64) if keep_counts else None
        self._width = 0.0

    def add(self, values: np.ndarray) -> None:
        low, high = float(values.min()), float(values.max())
        if not np.isfinite((low, high)).all():
            raise EngineError("the network gives values that are not finite on the calibration images: train or export it again")
        self._low, self._high = min(self._low, low), max(self._high, high)
        if self._counts is None:
            return
        most = max(-self._low, self._high)
        self._width = self._width or most
        while most > self._width:
            self._width *= 2
            self._counts = np.concatenate([self._counts.reshape(-1, 2).sum(1), np.zeros(_BINS // 2, np.int64)])
        if self._width:
            self._counts += np.histogram(np.abs(values), _BINS, (0.0, self._width))[0]

    def limits(self, method: str) -> Tuple[float, float]:
        if self._counts is None or not self._counts.any():
            return self._low, self._high
        last = _percentile(self._counts) if method == "percentile" else _least_divergence(self._counts)
        threshold = last * self._width / _BINS
        return max(self._low, -threshold), min(self._high, threshold)


def _percentile(counts: np.ndarray) -> int:
    """Number of bins that hold the given percentage of the values."""
    return int(np.searchsorted(np.cumsum(counts), counts.sum() * (PERCENTILE / 100))) + 1


def _least_divergence(counts: np.ndarray) -> int:
    """Number of bins after which cutting off loses least information at 128 levels."""
    counts = counts.astype(np.float64)
    counts[0] = counts[1]  # the zeros of a ReLU are exact at any range
    if not counts.any():
        return _BINS
    best, least = _BINS, np.inf
    for stop in range(_LEVELS, _BINS + 1, _STEP):
        inside = counts[:stop]
        reference = inside.copy()
        reference[-1] += counts[stop:].sum()
        level = np.arange(stop) * _LEVELS // stop
        filled = inside > 0
        sums, numbers = np.bincount(level, inside), np.bincount(level, filled)
        coarse = np.where(filled, (sums / np.maximum(numbers, 1))[level], 0)
        divergence = _divergence(reference, coarse)
        if divergence < least:
            best, least = stop, divergence
    return best


def _divergence(p: np.ndarray, q: np.ndarray) -> float:
    """Kullback-Leibler divergence of counts; what p has and q lacks costs much, not infinitely much."""
    if not q.any():
        return float("inf")
    p, q = p / p.sum(), np.maximum(q / q.sum(), 1e-10)
    some = p > 0
    return float((p[some] * np.log(p[some] / q[some])).sum())
