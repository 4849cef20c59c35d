"""What every inference runtime offers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from types import TracebackType
from typing import Optional, Tuple, Type, TypeVar, Union

import numpy as np

from gearnn.engine.errors import EngineError

R = TypeVar("R", bound="Runtime")


class Runtime(ABC):
    """A loaded network with one image input and one output, usable as a context manager.

    Attributes:
        name, version: of the library that runs it.
        threads: CPU threads of one call.
        input_shape: (batch or None if free, C, H, W).
    """

    name: str
    version: str
    threads: int
    input_shape: Tuple[Optional[int], int, int, int]

    @classmethod
    @abstractmethod
    def load(cls: Type[R], path: Union[str, Path], threads: Optional[int] = None) -> R:
        """Load a file; ``threads`` defaults to all cores the process may use.

        Raises:
            EngineError: if the file is missing, broken, or not for this runtime.
        """

    @abstractmethod
    def _run(self, images: np.ndarray) -> np.ndarray:
        """Run a checked batch."""

    @abstractmethod
    def close(self) -> None:
        """Free the network; further calls are refused."""

    def run(self, images: np.ndarray) -> np.ndarray:
        """float32 images (B, C, H, W) in [0, 1] → float32 logits (B, K).

        Raises:
            EngineError: if the type or the shape is not what the network takes.
        """
        if images.dtype != np.float32:
            raise EngineError(
                f"the network takes float32 images in [0, 1], not {images.dtype}: convert them (and divide uint8 by 255)"
            )
        if images.ndim != 4 or images.shape[1:] != self.input_shape[1:] or self.input_shape[0] not in (None, len(images)):
            wanted = ("batch" if self.input_shape[0] is None else self.input_shape[0], *self.input_shape[1:])
            raise EngineError(f"the network takes images of shape {wanted}, not {images.shape}: resize or rearrange them")
        return self._run(images)

    def __enter__(self: R) -> R:
        return self

    def __exit__(
        self, kind: Optional[Type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        self.close()
