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

_FLOAT32 = np.dtype(np.float32)


class Runtime(ABC):
    """A loaded network: float32 (B, C, H, W) → float32 (B, K).

    A subclass provides ``load``, the hook ``_run`` and ``close``; the checks are here. Whether ``run`` may be called
    from several threads at once is for each subclass to say.

    Attributes:
        name: of the runtime.
        version: of the runtime.
        threads: used by a call.
        path: of the loaded file.
        input_shape: (batch, C, H, W), None where any size is taken.
        metadata: strings stored in the file, if its format holds any.
    """

    name: ClassVar[str]

    def __init__(self, path: Path, version: str, threads: int, input_shape: Shape) -> None:
        self.path = path
        self.version = version
        self.threads = threads
        self.input_shape = input_shape
        self.metadata: Dict[str, str] = {}

    @classmethod
    @abstractmethod
    def load(cls: Type[Self], path: Union[str, Path], threads: Optional[int] = None) -> Self:
        """Load a file; raises EngineError if it is missing, damaged or not for this runtime."""

    @abstractmethod
    def _run(self, images: np.ndarray) -> np.ndarray:
        """Execute on images that passed the checks."""

    @abstractmethod
    def close(self) -> None:
        """Release the network; may be called twice."""

    def run(self, images: np.ndarray) -> np.ndarray:
        """Logits of a batch.

        Args:
            images: float32 (B, C, H, W), B at least 1; in [0, 1] for networks deployed by this project.

        Returns:
            float32 (B, K).

        Raises:
            EngineError: if dtype, rank, channels, height or width are not what the network takes, if it was closed, or
                if the runtime fails.
        """
        if not isinstance(images, np.ndarray) or images.dtype != _FLOAT32:
            raise EngineError(self._wrong_type(images))
        shape = images.shape
        if shape[1:] != self.input_shape[1:] or self.input_shape[0] is not None or shape[0] == 0:
            self._check_shape(shape)
        return self._run(images)

    def _wrong_type(self, images: object) -> str:
        got = f"an array of {images.dtype}" if isinstance(images, np.ndarray) else type(images).__name__
        return f"{self.path} takes a NumPy array of float32, got {got}: for 8-bit images use images.astype('float32') / 255"

    def _check_shape(self, shape: Tuple[int, ...]) -> None:
        wanted = "(" + ", ".join("any" if size is None else str(size) for size in self.input_shape) + ")"
        message = f"{self.path} takes images of shape {wanted}, got {shape}"
        if len(shape) != 4:
            raise EngineError(f"{message}: give (batch, channels, height, width), one image as images[None]")
        batch, channels, height, width = (expected is None or expected == size for expected, size in zip(self.input_shape, shape))
        if not channels:
            last = shape[3] == self.input_shape[1]
            cure = "move the channels forward with images.transpose(0, 3, 1, 2)" if last else "convert the images"
            raise EngineError(f"{message}: {cure} to have {self.input_shape[1]} channels")
        if not (height and width):
            raise EngineError(f"{message}: resize the images to that height and width")
        if not batch or shape[0] == 0:
            raise EngineError(f"{message}: give {self.input_shape[0] or 'at least one'} per call")

    def __enter__(self: Self) -> Self:
        return self

    def __exit__(
        self, kind: Optional[Type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        self.close()
