"""The paper's figures, for the tables whose settings are its own.

All are second-hand: put together from reviews and summaries of GEARnn (Sundaresha & Shanbhag, arXiv 2410.07691), not read in the
paper. Single runs with fixed seeds; robust accuracy on the published corruption files; Quadro is an RTX 6000, Jetson a Xavier NX.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Dict, List, Optional

SOURCE = "second-hand"


@dataclass(frozen=True)
class Published:
    """Figures of one network as published: accuracies in percent, training time in minutes, energy in kilojoules.

    Attributes:
        row: of our tables, the nearest to it.
        worked_out: which figure was not stated but follows from others that were.
    """

    hardware: str
    data: str
    arch: str
    method: str
    row: str
    clean: Optional[float] = None
    robust: Optional[float] = None
    minutes: Optional[float] = None
    kilojoules: Optional[float] = None
    worked_out: str = ""
    source: str = SOURCE

    def to_dict(self) -> Dict[str, Any]:
        """JSON-ready."""
        return asdict(self)


_QUADRO, _JETSON = "Quadro RTX 6000", "Jetson Xavier NX"
_SMALL, _ONE, _TWO = ("Small(D_aug)", "small-augmix"), ("GEARnn-1", "gearnn-1"), ("GEARnn-2", "gearnn-2-firefly")

PUBLISHED: List[Published] = [
    Published(_QUADRO, "cifar10", "mobilenet_v1", *_SMALL, clean=92.90, robust=83.21),
    Published(_QUADRO, "cifar10", "mobilenet_v1", *_TWO, clean=91.35, robust=81.96),
    Published(_QUADRO, "cifar10", "vgg19", *_SMALL, robust=85.73, minutes=215),
    Published(_QUADRO, "cifar10", "vgg19", *_ONE, robust=82.86, minutes=86),
    Published(_QUADRO, "cifar10", "vgg19", *_TWO, robust=83.77, minutes=53),
    Published(_QUADRO, "cifar100", "vgg19", *_SMALL, robust=56.94),
    Published(_QUADRO, "cifar100", "vgg19", *_TWO, robust=54.31, minutes=64),
    Published(_QUADRO, "cifar100", "vgg19", "clean, then AugMix", "clean-then-augmix", robust=53.74, minutes=79),
    Published(_JETSON, "cifar10", "mobilenet_v1", *_SMALL, robust=83.84),
    Published(_JETSON, "cifar10", "mobilenet_v1", *_TWO, robust=81.64),
    Published(_JETSON, "cifar10", "vgg19", *_SMALL, robust=85.73, worked_out="robust"),
    Published(_JETSON, "cifar10", "vgg19", *_ONE, robust=82.25, minutes=652),
    Published(_JETSON, "cifar10", "vgg19", *_TWO, robust=83.45, minutes=596, kilojoules=155),
]


def published_for(arch: str, data: str) -> List[Published]:
    """What was published for a network on a data set."""
    return [figures for figures in PUBLISHED if (figures.arch, figures.data) == (arch, data)]
