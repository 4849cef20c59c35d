"""A run is its configuration and its data: typed dataclasses, presets, and their JSON."""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Dict, List, Literal, Optional, Tuple, Union

from gearnn.errors import UserError
from gearnn.quantities import parse_bytes, parse_count, parse_duration

# The growth ratios of the paper on CIFAR-10 (GEARnn, arXiv 2410.07691).
PAPER_GROWTH_RATIO = {"mobilenet_v1": 1.8, "vgg19": 0.9, "resnet18": 0.6}

# Images per step, where none are named: what docs/evidence.md was measured with, and how far fewer images lower it.
LARGEST_BATCH, SMALLEST_BATCH, STEPS_PER_EPOCH = 128, 16, 8

Method = Literal["gearnn-2", "gearnn-1", "fixed"]


@dataclass(frozen=True)
class Budget:
    """What the grown network may cost; limits given together all hold. With none given, it is the paper's growth ratio."""

    growth_ratio: Optional[float] = None
    """gamma: the sum of all layer widths may grow to (1 + gamma) times the seed's (GEARnn, arXiv 2410.07691, Eq. 1)."""
    params: Optional[Union[int, str]] = None
    """Learnable parameters, such as 1M or 400k."""
    macs: Optional[Union[int, str]] = None
    """Multiply-accumulates of convolutions and linear layers per image, such as 50M."""
    size: Optional[Union[int, str]] = None
    """Bytes of the deployed model (float32 ONNX), such as 4MB."""
    train_memory: Optional[Union[int, str]] = None
    """Peak bytes that torch allocates in a training step at the batch size and views of the run, such as 512MiB."""
    latency_ms: Optional[float] = None
    """Milliseconds per image on this device's runtime, at batch 1."""
    train_time: Optional[str] = None
    """How long the whole run may take, such as 45m, 1h30m or 600s; it sets the phases' lengths, not the widths."""


@dataclass(frozen=True)
class GrowthConfig:
    """The growth steps."""

    batches: int = 8
    """Batches that closed-form growers look at (osg, gradmax)."""
    micro_batch: int = 16
    """Images at a time in a closed-form grower: its network is wider than the one in training, its batches are smaller."""
    epochs: int = 1
    """Eg, firefly only: passes over the data that train the candidates; one more scores them."""
    new_candidates: int = 0
    """New neurons offered per layer; 0 offers three times as many as the layer is wide; of those that are scored twice as many,
    and at most 70 or its width; at least 16."""
    learning_rate: float = 1e-3
    """Firefly only: of RMSprop (momentum 0.1, alpha 0.9) on the candidates."""
    penalty: float = 1e-2
    """Firefly only: factor on the squared norms of the split directions and, a hundredfold less, of the new neurons' weights."""
    round_to: int = 8
    """Widths come out in multiples of this: engines gain nothing from widths in between."""
    newborn_lr: float = 1.0
    """Learning rate of newborn weights over that of the others right after growth; it goes to 1 within newborn-epochs."""
    newborn_epochs: float = 2.0
    """Epochs after growth in which newborn weights have a learning rate of their own."""
    min_gain: float = 0.5
    """--shots auto stops when a step adds fewer percentage points of held-out accuracy per doubling of the budgeted cost."""
    held_out: float = 0.1
    """--shots auto holds out this fraction of the training images, to judge growth by, until growth has ended."""


@dataclass(frozen=True)
class Epochs:
    """Epochs per phase; how long candidates are trained is in ``growth``."""

    seed: int = 20
    """E1: training of the seed network, before it grows; with --method fixed, training on clean images (0: none)."""
    regrow: int = 10
    """E2: training of the grown network on clean images; 0 goes on to robust training at once (gearnn-2 with one shot)."""
    era: int = 60
    """Er: robust training with ERA (not for gearnn-1; with --method fixed, 0 leaves it out)."""


@dataclass(frozen=True)
class Augmentation:
    """Pad-crop-flip for every image, and ERA's views in robust phases."""

    kind: Literal["era", "prime"] = "era"
    """What chains are made of: AugMix's nine operations, or PRIME's diffeomorphisms, colour changes and filters."""
    views: int = 4
    """J: views of each image in a robust phase, the clean one included; 1 goes with --augmentation.no-clean-view only."""
    clean_view: bool = True
    """Train on the clean view too, as published; without, all J views are augmented, and cross-entropy takes the first."""
    width: int = 1
    """W: chains mixed in each augmented view."""
    depth: Optional[int] = 3
    """D: operations per chain; None draws 1 to 3."""
    severity: float = 3.0
    alpha: float = 1.0
    """Of the Dirichlet and Beta mixing weights."""
    pad: int = 4
    """Random crops after padding by this many pixels (at 32x32; scaled to other sizes)."""
    flip: bool = True
    """Random horizontal flips: turn off for digits, letters, signs."""


@dataclass(frozen=True)
class Optimizer:
    """How weights are learnt."""

    kind: Literal["sgd", "muon"] = "sgd"
    """Nesterov SGD; or Muon for convolutions, which orthogonalises their updates, and SGD for the rest (docs/schedules.md)."""
    schedule: Literal["phase", "hold"] = "phase"
    """phase: the rate falls to 0 along a cosine in every phase. hold: it stays up after one warm-up, and falls in the last."""
    batch_size: Optional[int] = None
    """Images per step; by default 128 (64 for the demo preset), and on fewer than eight times as many images a smaller power of
    two, from 16 on, so that an epoch has some steps."""
    learning_rate: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 5e-4
    relative_rate: float = 0.05
    """Muon's relative change of a convolution's weights per step, at the full learning rate."""
    warmup_epochs: float = 1.0
    """Linear warm-up at the start of each phase; with --optimizer.schedule hold, of the first one."""
    consistency: float = 12.0
    """Weight of the Jensen-Shannon term."""

    @property
    def images_per_step(self) -> int:
        """The batch size; where none is chosen yet, the largest that would be."""
        return LARGEST_BATCH if self.batch_size is None else self.batch_size


@dataclass(frozen=True)
class RunConfig:
    """Everything that decides a run, besides its data. As it is here it is the published recipe in shorter phases; the command
    line starts from another preset (`gearnn.presets`)."""

    data: Optional[Path] = None
    """Folder of images or a data set in a known layout; $GEARNN_DATA if not given, else scikit-learn's digits."""
    out: Optional[Path] = None
    """Run folder; by default runs/ARCH-METHOD-SEED."""
    preset: str = "plain"
    """Starting values for everything below, which other options override: default, quick, demo, plain, paper; and what to compare
    with, small-clean, small-augmix, small-era, clean-then-era, clean-then-augmix, gearnn-1, big
    (docs/schedules.md). The command line takes default unless told otherwise."""
    arch: str = "vgg19"
    """vgg19, mobilenet_v1, resnet18, or a package's own."""
    method: Method = "gearnn-2"
    """gearnn-2 trains clean and then robust; gearnn-1 trains on augmented data throughout; fixed trains without growth, from the
    start at the largest even width that the budget allows (at seed-width, if no budget is given)."""
    grower: str = "random"
    """What proposes and scores candidates: osg, firefly, gradmax, variance_transfer, net2net, random, or a package's own."""
    shots: Union[int, Literal["auto"]] = 1
    """Growth steps in which the budget is reached, each with training after it; auto stops when it no longer pays."""
    seed_width: float = 0.125
    """Width of the seed network as a fraction of the full-size one."""
    init: Literal["he", "identity"] = "he"
    """Initial weights: he, by He et al.; or identity, where 3x3 convolutions at first pass on what they are given."""
    standardize: bool = False
    """Let the network take each image's own mean and contrast out first, which makes it robust to changes of both."""
    image_size: Optional[int] = None
    """Side of the square images in pixels; by default the data's own."""
    limit_train: Optional[int] = None
    """Use at most this many training images (stratified, seeded)."""
    limit_test: Optional[int] = None
    """Use at most this many test images (stratified, seeded)."""
    on_bad_image: Literal["skip", "fail"] = "skip"
    """Unreadable image files: skip leaves out at most 1 % (or one file) and names each; fail stops at the first."""
    baseline: bool = False
    """Also train a clean network of the final size, for as many epochs as the whole run, and measure it beside."""
    seed: int = 0
    """Decides the whole run."""
    device: str = "auto"
    """auto, cpu or cuda."""
    threads: Optional[int] = None
    """CPU threads; by default all that the process may use."""
    memory_limit: Optional[Union[int, str]] = None
    """Resident bytes that the process may hold in training (Linux), such as 512MiB; above, batches go through in parts."""
    sync_batchnorm: bool = False
    """With several processes (torchrun): BatchNorm normalises by the whole batch, as on one process, rather than by each one's
    part of it; two more messages per layer and step."""
    max_rollbacks: int = 3
    """Times that a run whose loss runs away goes back to the last good epoch, each time at half the learning rate."""
    resume: bool = False
    """Continue the run in --out from its last checkpoint."""
    epochs: Epochs = field(default_factory=Epochs)
    budget: Budget = field(default_factory=Budget)
    growth: GrowthConfig = field(default_factory=GrowthConfig)
    augmentation: Augmentation = field(default_factory=Augmentation)
    optimizer: Optimizer = field(default_factory=Optimizer)


def with_default(budget: Budget, arch: str) -> Budget:
    """The budget, with the paper's growth ratio where nothing else limits the widths."""
    budget = parsed(budget)
    return budget if limits_widths(budget) else dataclasses.replace(budget, growth_ratio=PAPER_GROWTH_RATIO.get(arch, 0.9))


def parsed(budget: Budget) -> Budget:
    """The same budget with counts and bytes as numbers.

    Raises:
        UserError: naming the option and an example of it.
    """
    numbers: Dict[str, int] = {}
    for name, parse in (("params", parse_count), ("macs", parse_count), ("size", parse_bytes), ("train_memory", parse_bytes)):
        given = getattr(budget, name)
        if given is not None:
            numbers[name] = parse(given, f"--budget.{name.replace('_', '-')}")
    for option, value, example in (
        ("--budget.growth-ratio", budget.growth_ratio, "0.9 allows 1.9 times the seed's widths"),
        ("--budget.latency-ms", budget.latency_ms, "3.0 allows 3 milliseconds per image"),
    ):
        if value is not None and not 0 < value < math.inf:
            raise UserError(f"{option} must be above 0, not {value}: {example}")
    if budget.train_time is not None:
        parse_duration(budget.train_time, "--budget.train-time")
    return dataclasses.replace(budget, **numbers)  # type: ignore[arg-type, unused-ignore]


def limits_widths(budget: Budget, without: Tuple[str, ...] = ()) -> bool:
    """Whether anything limits the widths."""
    names = ("growth_ratio", "params", "macs", "size", "train_memory", "latency_ms")
    return any(getattr(budget, name) is not None for name in names if name not in without)


def fitting_batch(images: int, largest: int = LARGEST_BATCH) -> int:
    """Images per step for a training set: ``largest``, or the largest power of two that gives 8 steps an epoch, but at least 16.

    Fewer than 128 images have fewer steps; whether one batch can be filled is for others to check.
    """
    most = max(SMALLEST_BATCH, images // STEPS_PER_EPOCH)
    return min(largest, 1 << (most.bit_length() - 1))


def check(config: RunConfig) -> None:
    """Refuse numbers that make no sense, by the name of their option.

    Raises:
        UserError: naming the option, its value and what it may be.
    """
    optimizer, growth, augmentation = config.optimizer, config.growth, config.augmentation
    rules = [
        ("--seed", config.seed, config.seed >= 0, "0 or more"),
        ("--max-rollbacks", config.max_rollbacks, config.max_rollbacks >= 0, "0 or more"),
        ("--shots", config.shots, config.shots == "auto" or 1 <= config.shots <= 16, "from 1 to 16, or auto"),
        ("--seed-width", config.seed_width, 0 < config.seed_width <= 1, "above 0 and at most 1"),
        ("--optimizer.batch-size", optimizer.batch_size, optimizer.images_per_step >= 2, "at least 2"),
        ("--optimizer.learning-rate", optimizer.learning_rate, optimizer.learning_rate > 0, "above 0"),
        ("--optimizer.momentum", optimizer.momentum, 0 <= optimizer.momentum < 1, "from 0 to below 1"),
        ("--optimizer.weight-decay", optimizer.weight_decay, optimizer.weight_decay >= 0, "0 or more"),
        ("--optimizer.relative-rate", optimizer.relative_rate, 0 < optimizer.relative_rate < 1, "above 0 and below 1"),
        ("--optimizer.warmup-epochs", optimizer.warmup_epochs, optimizer.warmup_epochs >= 0, "0 or more"),
        ("--optimizer.consistency", optimizer.consistency, optimizer.consistency >= 0, "0 or more"),
        ("--growth.learning-rate", growth.learning_rate, growth.learning_rate > 0, "above 0"),
        ("--growth.new-candidates", growth.new_candidates, growth.new_candidates >= 0, "0 or more"),
        ("--growth.penalty", growth.penalty, growth.penalty >= 0, "0 or more"),
        ("--growth.newborn-lr", growth.newborn_lr, growth.newborn_lr > 0, "above 0"),
        ("--growth.newborn-epochs", growth.newborn_epochs, growth.newborn_epochs >= 0, "0 or more"),
        ("--growth.min-gain", growth.min_gain, growth.min_gain >= 0, "0 or more"),
        ("--growth.held-out", growth.held_out, 0 < growth.held_out <= 0.5, "above 0 and at most 0.5"),
        ("--growth.round-to", growth.round_to, 1 <= growth.round_to <= 256, "from 1 to 256"),
        ("--augmentation.pad", augmentation.pad, augmentation.pad >= 0, "0 or more"),
    ]
    if config.memory_limit is not None:
        parse_bytes(config.memory_limit, "--memory-limit")
    for option, value, holds, allowed in rules:
        if not holds:  # also where the value is NaN
            raise UserError(f"{option} must be {allowed}, not {value}")


def to_dict(config: RunConfig) -> Dict[str, Any]:
    """JSON-ready form, paths as text."""
    plain: Dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(config), default=str))
    return plain


def differences(saved: Dict[str, Any], config: RunConfig) -> List[str]:
    """The options in which a saved configuration differs from ``config`` so that a resumed run would not be the same run."""
    ignored = ("out", "resume", "device", "threads", "data", "memory_limit", "max_rollbacks")
    present = to_dict(config)
    saved = {"on_bad_image": "skip", "sync_batchnorm": False, **saved}  # runs from before the option
    return [name for name in present if name not in ignored and saved.get(name) != present[name]]
