"""What every reader hands over: images (as an array or as files still to be decoded), labels, class names."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import List, Optional, Tuple, Union

import numpy as np


@dataclass(frozen=True, eq=False)
class Part:
    """One part (training or test) of a data set before its images have one size.

    Attributes:
        images: uint8 (N, C, H, W) with C 1 or 3, or a list of N image files that are not decoded yet.
        labels: int64 (N,), indices into ``Source.classes``.
    """

    images: Union[np.ndarray, List[Path]]
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: np.ndarray) -> Part:
        """The part restricted to ``indices`` (int (M,)), in that order."""
        if isinstance(self.images, np.ndarray):
            return Part(self.images[indices], self.labels[indices])
        return Part([self.images[i] for i in indices], self.labels[indices])


@dataclass(frozen=True, eq=False)
class Source:
    """A data set as it lies on disk; ``test`` is None where a part must be held out from ``train``."""

    name: str
    description: str
    classes: Tuple[str, ...]
    train: Part
    test: Optional[Part]
    notes: Tuple[str, ...] = ()


def listed(names: List[str], most: int = 5) -> str:
    """``names`` as prose: the first ``most`` and how many more there are."""
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"
