"""``gearnn bench growth``: the growers side by side on one trained seed network."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

from gearnn.commands.parsing import parse, print_json
from gearnn.config import LARGEST_BATCH, Budget, GrowthConfig, Optimizer, with_default
from gearnn.errors import UserError


@dataclass(frozen=True)
class BenchGrowthArguments:
    """Train a seed network, grow it with every grower to the same budget, train on for as long, and compare; for several seeds.

    What is finished is kept in --out: the same command goes on where it was stopped.

    Examples:

      gearnn bench growth --data photos/ --out runs/growers

      gearnn bench growth --growers osg firefly random --seeds 0 1 2 --budget.params 300k --json
    """

    data: Optional[Path] = None
    """As for gearnn run."""
    out: Path = Path("runs/bench-growth")
    """Folder for the seed networks, a file per grower and seed, and results.json."""
    growers: Tuple[str, ...] = ("osg", "firefly", "gradmax", "variance_transfer", "net2net", "random")
    seeds: Tuple[int, ...] = (0, 1, 2)
    arch: str = "vgg19"
    seed_width: float = 0.0625
    """Width of the seed network as a fraction of the full-size one."""
    seed_epochs: int = 8
    """E1: before growth."""
    epochs: int = 8
    """E2: after growth."""
    image_size: Optional[int] = None
    limit_train: Optional[int] = None
    limit_test: Optional[int] = None
    flip: bool = True
    """Random horizontal flips: turn off for digits, letters, signs."""
    budget: Budget = field(default_factory=Budget)
    """By default the paper's growth ratio for the network."""
    growth: GrowthConfig = field(default_factory=GrowthConfig)
    optimizer: Optimizer = field(default_factory=lambda: Optimizer(batch_size=LARGEST_BATCH))
    device: str = "auto"
    """auto, cpu or cuda."""
    threads: Optional[int] = None
    """CPU threads; by default all that the process may use."""
    json: bool = False
    """Print {"metadata", "results"} on standard output as JSON."""


def main(arguments: List[str]) -> int:
    """Run what is missing, and print the table."""
    options = parse(BenchGrowthArguments, arguments, "bench growth")
    from gearnn.bench.growth import NOTES, Setting, bench_growth
    from gearnn.console import console_progress
    from gearnn.data import check_batch_size, load_data
    from gearnn.device import choose_device, set_threads
    from gearnn.engine.environment import environment
    from gearnn.files import write_json
    from gearnn.growth.growers import find_grower

    _check(options)
    for name in options.growers:
        find_grower(name)
    device, threads = choose_device(options.device), set_threads(options.threads)
    _open_folder(options)
    with console_progress() as progress:
        dataset = load_data(
            options.data,
            image_size=options.image_size,
            limit_train=options.limit_train,
            limit_test=options.limit_test,
            progress=progress,
        )
        check_batch_size(dataset, options.optimizer.images_per_step)
        given = {name: getattr(options, name) for name in Setting.__dataclass_fields__}
        setting = Setting(**{**given, "budget": with_default(options.budget, options.arch)})
        results = bench_growth(
            dataset, setting, options.out, growers=options.growers, seeds=options.seeds, device=device, progress=progress
        )
    metadata: Dict[str, Any] = {"what": "growth", **_settings(options), "threads": threads, "training_device": str(device)}
    metadata.update({"n_train": len(dataset.train), "n_test": len(dataset.test), **environment(), "notes": NOTES})
    report = {"metadata": metadata, "results": results}
    write_json(options.out / "results.json", report)
    if options.json:
        print_json(report)
    else:
        _print(report)
    return 0


def _settings(options: BenchGrowthArguments) -> Dict[str, Any]:
    """What decides a cell, JSON-ready."""
    ignored = ("out", "growers", "seeds", "device", "threads", "json", "data")
    return {
        "data": str(options.data) if options.data else None,
        **{name: value for name, value in asdict(options).items() if name not in ignored},
        "budget": asdict(with_default(options.budget, options.arch)),
    }


def _open_folder(options: BenchGrowthArguments) -> None:
    """Refuse a folder whose cells were made with other options."""
    from gearnn.files import read_json, write_json

    path, present = options.out / "config.json", _settings(options)
    if path.exists():
        saved = read_json(path)
        changed = [name for name in present if saved.get(name) != present[name]]
        if changed:
            raise UserError(
                f"the bench in {options.out} was started with other options ({', '.join(changed)}): repeat those, or choose "
                "another --out"
            )
    write_json(path, present)


def _check(options: BenchGrowthArguments) -> None:
    rules = [
        ("--seeds", options.seeds, len(options.seeds) > 0 and min(options.seeds) >= 0, "0 or more"),
        ("--growers", options.growers, len(options.growers) > 0, "at least one grower"),
        ("--seed-epochs", options.seed_epochs, options.seed_epochs >= 1, "at least 1"),
        ("--epochs", options.epochs, options.epochs >= 1, "at least 1"),
        ("--seed-width", options.seed_width, 0 < options.seed_width <= 1, "above 0 and at most 1"),
    ]
    for option, value, holds, allowed in rules:
        if not holds:
            raise UserError(f"{option} must be {allowed}, not {value}")


def _print(report: Dict[str, Any]) -> None:
    metadata = report["metadata"]
    device, versions = metadata["device"], metadata["versions"]
    print(f"{device['name']}, {metadata['threads']} threads; torch {versions['torch']}; {metadata['n_train']:,} training images")
    print(f"{'':<18}{'n':>2}{'grow s':>9}{'memory':>8}{'loss before':>13}{'after':>8}{'accuracy':>16}{'params':>11}{'MACs':>13}")
    for row in report["results"]:
        memory = "missing" if row["grow_peak_over_training"] is None else f"{row['grow_peak_over_training']:.2f}x"
        spread = "" if row["accuracy_sd"] is None else f" ± {100 * row['accuracy_sd']:.1f}"
        accuracy = f"{100 * row['accuracy']:.1f}{spread} %"
        losses = f"{row['loss_before']:>13.3f}{row['loss_after']:>8.3f}"
        sizes = f"{row['params']:>11,.0f}{row['macs']:>13,.0f}"
        print(f"{row['name']:<18}{row['n']:>2}{row['grow_seconds']:>9.1f}{memory:>8}{losses}{accuracy:>16}{sizes}")
    print(
        "accuracy after the same epochs, mean ± standard deviation; memory: growth step over training steps of the seed network"
    )
