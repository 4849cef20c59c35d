"""Ranges for INT8 found by TensorRT itself, by entropy: for the DLA, which takes no Q/DQ nodes, and for FP32 files on 8 and 10.

TensorRT calls back for one batch after the other, so the images stream. Exceptions cannot pass through its bindings (they are
printed and lost), so the first one is kept and raised afterwards. The interface is IInt8EntropyCalibrator2 of NVIDIA's bindings
(python/src/infer/pyInt8.cpp, tags 8.5.3 and v10.3.0). Not run on hardware.
"""

from __future__ import annotations

import hashlib
from typing import Any, Callable, Iterable, Iterator, List, Optional, Tuple

import numpy as np

from gearnn.engine.errors import EngineError
from gearnn.engine.tensorrt_api import TensorRT

Upload = Callable[[np.ndarray], int]
"""Copies a contiguous array to the device and gives its address, which stays valid until the next call."""


def entropy_calibrator(
    trt: TensorRT, batches: Iterable[np.ndarray], shape: Tuple[int, ...], dtype: np.dtype, upload: Upload
) -> Any:
    """A calibrator to be set as ``config.int8_calibrator``.

    Args:
        batches: arrays (B, ...) of any B, of the network's input type.
        shape: of the batches that TensorRT calibrates with: the best shape of the profile.
        dtype: of the network's input.
        upload: see `Upload`.

    Returns:
        An object with ``raise_failure()`` and ``check_images()``, to be called after a build: EngineError if there were wrong
        or too few images; ``restart()``, before another build; ``digest`` (SHA-256 of the images used) and ``images`` (how many).
    """

    class Calibrator(trt.module.IInt8EntropyCalibrator2):  # type: ignore[name-defined]
        def __init__(self) -> None:
            # Without this call the bindings crash (pybind11: the base of a trampoline must be initialised).
            trt.module.IInt8EntropyCalibrator2.__init__(self)
            self.cache: Optional[bytes] = None
            self.restart()

        def restart(self) -> None:
            """Begin with the first image again, unless ranges were found already: then they are used."""
            self.failure: Optional[Exception] = None
            if self.cache is None:
                self.images = 0
                self._digest = hashlib.sha256()
                self._batches = regroup(batches, shape, dtype)

        @property
        def digest(self) -> str:
            return self._digest.hexdigest()

        def raise_failure(self) -> None:
            """What went wrong in a call of TensorRT's, if anything did."""
            if isinstance(self.failure, EngineError):
                raise self.failure
            if self.failure is not None:
                raise EngineError(f"calibration failed ({self.failure}): check the images given with --data") from self.failure

        def check_images(self) -> None:
            """Raise EngineError if there was not a single batch."""
            if self.images == 0:
                raise EngineError(f"there are fewer calibration images than one batch of {shape[0]}: give more with --data")

        def get_batch_size(self) -> int:
            return shape[0]

        def get_batch(self, names: List[str]) -> Optional[List[int]]:
            try:
                batch = next(self._batches, None)
                if batch is None:
                    return None
                address = upload(batch)
            except Exception as error:
                self.failure = error
                return None
            self._digest.update(batch.data)
            self.images += len(batch)
            return [address]

        def read_calibration_cache(self) -> Optional[bytes]:
            return self.cache

        def write_calibration_cache(self, cache: Any) -> None:
            self.cache = bytes(cache)

    return Calibrator()


def regroup(batches: Iterable[np.ndarray], shape: Tuple[int, ...], dtype: np.dtype) -> Iterator[np.ndarray]:
    """The same images in contiguous batches of exactly ``shape``; what is left at the end is dropped.

    Raises:
        EngineError: if an array is of another type or its images are of another shape.
    """
    waiting: List[np.ndarray] = []
    count = 0
    for batch in batches:
        if not isinstance(batch, np.ndarray) or batch.dtype != dtype or batch.shape[1:] != shape[1:]:
            got = f"{batch.dtype} {batch.shape}" if isinstance(batch, np.ndarray) else type(batch).__name__
            wanted = f"{np.dtype(dtype)} ({', '.join(['any', *map(str, shape[1:])])})"
            raise EngineError(f"calibration batches must be {wanted}, got {got}: prepare them as for running the network")
        waiting.append(batch)
        count += len(batch)
        while count >= shape[0]:
            joined = np.concatenate(waiting) if len(waiting) > 1 else waiting[0]
            yield np.ascontiguousarray(joined[: shape[0]])
            waiting, count = [joined[shape[0] :]], count - shape[0]
