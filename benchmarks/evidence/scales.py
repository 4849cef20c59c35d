"""How large a table is: networks, data sets, images, sizes, epochs and seeds."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Dict, Mapping, Optional, Tuple

from gearnn.config import PAPER_GROWTH_RATIO
from gearnn.errors import UserError

DIGITS = "digits"
"""The data set that comes with scikit-learn: it needs no path."""


@dataclass(frozen=True)
class Arena:
    """One network family on one data set: rows are compared within it.

    Attributes:
        data: the data set's name, whose folder ``--data NAME=PATH`` gives.
        seed_width: of the seed network, as a fraction of the full-size one.
        budget: options that limit the grown network, and the others likewise: {"budget.params": "1255546"}.
        options: further options of ``gearnn run`` that every row gets; flags have an empty value.
    """

    name: str
    arch: str
    data: str
    seed_width: float
    budget: Mapping[str, str]
    limit_train: Optional[int] = None
    limit_test: Optional[int] = None
    options: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Scale:
    """What ``--scale`` stands for.

    Attributes:
        epochs: factor on the presets' epochs, which are those of the paper (160 for networks of a fixed size).
        threads: of each cell; None for all.
        published: whether the settings are near enough to the paper's to print its figures beside.
    """

    name: str
    summary: str
    arenas: Tuple[Arena, ...]
    epochs: float
    seeds: Tuple[int, ...]
    threads: Optional[int]
    device: str
    rows: Tuple[str, ...]
    published: bool = False


_MAIN = ("small-clean", "small-augmix", "small-era", "clean-then-era", "gearnn-1", "gearnn-2", "ours")
_COMPARED = (*_MAIN, "clean-then-era-equal-time", "gearnn-2-random", "gearnn-2-firefly", "ours-small")
_PUBLISHED = ("small-clean", "small-augmix", "small-era", "clean-then-era", "gearnn-1", "gearnn-2-firefly", "gearnn-2", "ours")
# Learnable parameters and multiply-accumulates per image at a quarter of the full widths, with ten classes. Both limit a grown
# network: one that is no larger but costs three times as much to run would be no fair match.
_QUARTER = {"vgg19": (1_255_546, 25_216_256), "mobilenet_v1": (215_642, 3_331_072), "resnet18": (701_466, 35_046_656)}


def _quarter(arch: str, limit_train: Optional[int] = None, limit_test: Optional[int] = None) -> Arena:
    params, macs = _QUARTER[arch]
    budget = {"budget.params": str(params), "budget.macs": str(macs)}
    options = {"growth.new-candidates": "96"}  # per layer, so that a network can become four times as wide
    return Arena(f"{arch}-cifar10", arch, "cifar10", 0.0625, budget, limit_train, limit_test, options)


def _as_published(arch: str, data: str) -> Arena:
    # 1/8: of VGG-19 that is 1.6 % of the parameters, near the 1.4 % that are reported; the other seeds' sizes are not.
    return Arena(f"{arch}-{data}", arch, data, 0.125, {"budget.growth-ratio": str(PAPER_GROWTH_RATIO[arch])})


_SMOKE_OPTIONS = {"augmentation.pad": "1", "augmentation.no-flip": ""}

SCALES: Dict[str, Scale] = {
    scale.name: scale
    for scale in (
        Scale(
            "smoke",
            "the embedded digits, one epoch per phase, no data needed: shows that the harness works, nothing else",
            (
                Arena(
                    "mobilenet_v1-digits", "mobilenet_v1", DIGITS, 0.125, {"budget.growth-ratio": "0.9"}, 128, 40, _SMOKE_OPTIONS
                ),
            ),
            epochs=0.001,
            seeds=(0,),
            threads=1,
            device="cpu",
            rows=("small-clean", "gearnn-2"),
        ),
        Scale(
            "cpu-small",
            "VGG-19 1/16 → 1/4 on 20,000 images of CIFAR-10, 0.075 of the published epochs: hours on one core",
            (_quarter("vgg19", 20_000, 2_000),),
            epochs=0.075,
            seeds=(0, 1, 2),
            threads=1,
            device="cpu",
            rows=_COMPARED,
        ),
        Scale(
            "cpu",
            "three networks 1/16 → 1/4 on all of CIFAR-10, a quarter of the published epochs: days",
            tuple(_quarter(arch) for arch in _QUARTER),
            epochs=0.25,
            seeds=(0, 1, 2),
            threads=None,
            device="cpu",
            rows=_COMPARED,
        ),
        Scale(
            "jetson",
            "VGG-19 and MobileNet-V1 on CIFAR-10 and -100, published growth ratios and epochs, on the GPU",
            tuple(_as_published(arch, data) for data in ("cifar10", "cifar100") for arch in ("vgg19", "mobilenet_v1")),
            epochs=1.0,
            seeds=(0, 1, 2),
            threads=None,
            device="cuda",
            rows=_PUBLISHED,
            published=True,
        ),
        Scale(
            "paper",
            "three networks × CIFAR-10, CIFAR-100, Tiny-ImageNet, published ratios and epochs, beside the published figures",
            tuple(_as_published(arch, data) for data in ("cifar10", "cifar100", "tiny-imagenet") for arch in _QUARTER),
            epochs=1.0,
            seeds=(0, 1, 2),
            threads=None,
            device="auto",
            rows=_PUBLISHED,
            published=True,
        ),
    )
}


def scale_named(name: str) -> Scale:
    """The scale of this name.

    Raises:
        UserError: if there is none.
    """
    if name not in SCALES:
        raise UserError(f"there is no scale called {name!r}: choose one of {', '.join(SCALES)}")
    return SCALES[name]
