"""The one interface behind which networks are executed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Dict, Optional, Tuple, Type, TypeVar, Union

import numpy as np

from gearnn.engine.errors import EngineError

Shape = Tuple[Optional[int], Optional[int], Optional[int], Optional[int]]
Self = TypeVar("Self", bound="Runtime")

FLOAT32, UINT8 = np.dtype(np.float32), np.dtype(np.uint8)
LAYOUTS = {FLOAT32: "NCHW", UINT8: "NHWC"}
"""Of the input, by its type: floats as training frameworks hold them, pixels as cameras and image files give them."""


class Runtime(ABC):
    """A loaded network: float32 (B, C, H, W), or uint8 (B, H, W, C) where it prepares pixels itself, → float32 (B, K).

    A subclass provides ``load``, the hook ``_run`` and ``close``; the checks are here. Whether ``run`` may be called
    from several threads at once is for each subclass to say.

    Attributes:
        name: of the runtime.
        version: of the runtime.
        threads: used by a call.
        device: what executes: "cpu", or a GPU's name.
        path: of the loaded file.
        input_shape: four sizes in the order of ``layout``, None where any size is taken.
        input_dtype: float32 or uint8.
        layout: "NCHW" for float32, "NHWC" for uint8.
        metadata: strings stored in the file, or beside it.
    """

    name: ClassVar[str]
    device: str = "cpu"

    def __init__(self, path: Path, version: str, threads: int, input_shape: Shape, input_dtype: np.dtype = FLOAT32) -> None:
        self.path = path
        self.version = version
        self.threads = threads
        self.input_shape = input_shape
        self.input_dtype = np.dtype(input_dtype)
        self.layout = LAYOUTS[self.input_dtype]
        self.metadata: Dict[str, str] = {}

    @classmethod
    @abstractmethod
    def load(cls: Type[Self], path: Union[str, Path], threads: Optional[int] = None) -> Self:
        """Load a file; raises EngineError if it is missing, damaged or not for this runtime."""

    @classmethod
    def state(cls) -> str:
        """What it is here, in words, for ``gearnn info``: its version, or why it cannot run; nothing is loaded or started."""
        return "ready"

    @abstractmethod
    def _run(self, images: np.ndarray) -> np.ndarray:
        """Execute on images that passed the checks."""

    def device_seconds(self, images: np.ndarray) -> Optional[float]:
        """Time on the device of one execution, without copies; None where the host executes."""
        return None

    @abstractmethod
    def close(self) -> None:
        """Release the network; may be called twice."""

    def run(self, images: np.ndarray) -> np.ndarray:
        """Logits of a batch.

        Args:
            images: B at least 1; float32 (B, C, H, W), in [0, 1] for networks deployed by this project, or uint8 (B, H, W, C)
                (see ``input_dtype``).

        Returns:
            float32 (B, K).

        Raises:
            EngineError: if dtype, rank, channels, height or width are not what the network takes, if it was closed, or
                if the runtime fails.
        """
        if not isinstance(images, np.ndarray) or images.dtype != self.input_dtype:
            raise EngineError(self._wrong_type(images))
        shape = images.shape
        if shape[1:] != self.input_shape[1:] or self.input_shape[0] is not None or shape[0] == 0:
            self._check_shape(shape)
        return self._run(images)

    def prepare(self, pixels: np.ndarray) -> np.ndarray:
        """What ``run`` takes, of uint8 images (B, C, H, W): float32 in [0, 1], or the pixels with their channels last."""
        if self.input_dtype == UINT8:
            return np.ascontiguousarray(pixels.transpose(0, 2, 3, 1))
        return pixels.astype(np.float32) / np.float32(255)

    @property
    def image_shape(self) -> Tuple[Optional[int], Optional[int], Optional[int]]:
        """(C, H, W) whatever the layout, None where any size is taken."""
        sizes = self.input_shape[1:]
        return sizes if self.layout == "NCHW" else (sizes[2], sizes[0], sizes[1])

    def _wrong_type(self, images: object) -> str:
        got = f"an array of {images.dtype}" if isinstance(images, np.ndarray) else type(images).__name__
        to_float = "for 8-bit images use images.astype('float32') / 255"
        cure = to_float if self.input_dtype == FLOAT32 else "give the pixels as they are, 0 to 255"
        return f"{self.path} takes a NumPy array of {self.input_dtype}, got {got}: {cure}"

    def _check_shape(self, shape: Tuple[int, ...]) -> None:
        wanted = "(" + ", ".join("any" if size is None else str(size) for size in self.input_shape) + ")"
        message = f"{self.path} takes images of shape {wanted}, got {shape}"
        order = "batch, channels, height, width" if self.layout == "NCHW" else "batch, height, width, channels"
        if len(shape) != 4:
            raise EngineError(f"{message}: give ({order}), one image as images[None]")
        fits = dict(zip(self.layout, (expected is None or expected == size for expected, size in zip(self.input_shape, shape))))
        place, turned = self.layout.index("C"), "NHWC" if self.layout == "NCHW" else "NCHW"
        if not fits["C"]:
            elsewhere = shape[turned.index("C")] == self.input_shape[place]
            move = tuple(turned.index(axis) for axis in self.layout)
            cure = f"move the channels with images.transpose{move}" if elsewhere else "convert the images"
            raise EngineError(f"{message}: {cure} to have {self.input_shape[place]} channels")
        if not (fits["H"] and fits["W"]):
            raise EngineError(f"{message}: resize the images to that height and width")
        if not fits["N"] or shape[0] == 0:
            raise EngineError(f"{message}: give {self.input_shape[0] or 'at least one'} per call")

    def __enter__(self: Self) -> Self:
        return self

    def __exit__(
        self, kind: Optional[Type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        self.close()
