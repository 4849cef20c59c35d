"""Calibration batches, and what TensorRT's calls are answered with."""

from __future__ import annotations

import hashlib
from types import ModuleType
from typing import Any, List

import numpy as np
import pytest

from gearnn.engine.errors import EngineError
from gearnn.engine.int8_calibrator import entropy_calibrator, regroup
from gearnn.engine.tensorrt_api import wrap

SHAPE = (4, 3, 2, 2)


def _images(count: int) -> np.ndarray:
    return np.random.default_rng(count).random((count, 3, 2, 2), dtype=np.float32)


@pytest.mark.parametrize("sizes", [[4, 4, 4], [1] * 13, [12], [5, 1, 7], [3, 0, 9]])
def test_batches_are_regrouped_in_order(sizes: List[int]) -> None:
    images = _images(sum(sizes))
    given = np.split(images, np.cumsum(sizes)[:-1])
    made = list(regroup(given, SHAPE, np.dtype(np.float32)))
    assert [batch.shape for batch in made] == [SHAPE] * 3
    assert np.array_equal(np.concatenate(made), images[:12])
    assert all(batch.flags.c_contiguous for batch in made)


@pytest.mark.parametrize("wrong", [_images(4).astype(np.float64), _images(4)[:, :, :1], [1, 2]])
def test_wrong_batches_are_refused(wrong: Any) -> None:
    with pytest.raises(EngineError, match=r"float32 \(any, 3, 2, 2\), got"):
        list(regroup([wrong], SHAPE, np.dtype(np.float32)))


def _calibrator(trt_fakes: ModuleType, batches: List[Any], upload: Any = lambda batch: 64) -> Any:
    return entropy_calibrator(wrap(trt_fakes.fake("8.5.3"), "tensorrt"), batches, SHAPE, np.dtype(np.float32), upload)


def test_the_calls_of_a_calibration(trt_fakes: ModuleType) -> None:
    images = _images(10)
    calibrator = _calibrator(trt_fakes, [images])
    assert calibrator.initialised, "the bindings crash if their base is not initialised"
    assert calibrator.get_batch_size() == 4 and calibrator.read_calibration_cache() is None
    assert [calibrator.get_batch(["images"]) for _ in range(3)] == [[64], [64], None]
    calibrator.write_calibration_cache(memoryview(b"ranges"))
    calibrator.raise_failure()
    calibrator.check_images()
    assert calibrator.images == 8 and calibrator.digest == hashlib.sha256(images[:8].tobytes()).hexdigest()
    calibrator.restart()
    assert calibrator.read_calibration_cache() == b"ranges" and calibrator.images == 8


def test_a_restart_before_ranges_were_found_begins_anew(trt_fakes: ModuleType) -> None:
    images = _images(8)
    calibrator = _calibrator(trt_fakes, [images])
    calibrator.get_batch(["images"])
    calibrator.restart()
    assert [calibrator.get_batch(["images"]) for _ in range(3)] == [[64], [64], None]
    assert calibrator.digest == hashlib.sha256(images.tobytes()).hexdigest()


def test_exceptions_are_kept_since_the_bindings_lose_them(trt_fakes: ModuleType) -> None:
    def full(batch: np.ndarray) -> int:
        raise RuntimeError("device is full")

    calibrator = _calibrator(trt_fakes, [_images(4)], full)
    assert calibrator.get_batch(["images"]) is None
    with pytest.raises(EngineError, match="calibration failed .device is full."):
        calibrator.raise_failure()
    with pytest.raises(EngineError, match="fewer calibration images than one batch of 4"):
        calibrator.check_images()
