"""``gearnn evaluate``: judge a network."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, List, NamedTuple, Optional, Tuple

import tyro
from typing_extensions import Annotated

from gearnn.commands.parsing import parse, print_json
from gearnn.errors import UserError

if TYPE_CHECKING:
    from gearnn.data import Dataset


@dataclass(frozen=True)
class EvaluateArguments:
    """Clean and robust accuracy of a network: a run folder, an .onnx file or a .safetensors file.

    The corruptions are generated with CIFAR-10-C's published parameters, and labelled so.

    Examples:

      gearnn evaluate runs/demo

      gearnn evaluate runs/photos/model.onnx --data photos/ --severities 1 3 5 --json
    """

    model: Annotated[Path, tyro.conf.Positional]
    """Run folder, .onnx or .safetensors."""
    data: Optional[Path] = None
    """As for gearnn run; by default what the run was trained on, with its test images."""
    limit_test: Optional[int] = None
    """Use at most this many test images; by default as many as the run did."""
    corruptions: Optional[Tuple[str, ...]] = None
    """Some of the 15; by default all."""
    severities: Tuple[int, ...] = (1, 2, 3, 4, 5)
    seed: Optional[int] = None
    """Of the corruptions; by default the run's, else 0. For --data without a test set, also of the split."""
    device: str = "auto"
    """For .safetensors: auto, cpu or cuda. ONNX files run on the CPU."""
    threads: Optional[int] = None
    json: bool = False
    """Print the report on standard output as JSON."""


def main(arguments: List[str]) -> int:
    """Evaluate and print."""
    options = parse(EvaluateArguments, arguments, "evaluate")
    from gearnn.console import console_progress
    from gearnn.data import load_data
    from gearnn.robustness import CORRUPTIONS, benchmark

    model, size, expected = _load(options)
    run = _run_config(options.model)
    # Of a run's own data, the very test images that it held out: whatever the seed of the corruptions.
    own = run if options.data is None else {}
    seed = run.get("seed", 0) if options.seed is None else options.seed
    with console_progress() as progress:
        dataset = load_data(
            options.data or own.get("data"),
            image_size=size,
            limit_test=options.limit_test or own.get("limit_test"),
            seed=own.get("seed", seed),
            progress=progress,
        )
        _check_fit(options.model, expected, dataset)
        report = benchmark(
            model,
            dataset.test,
            corruptions=options.corruptions or CORRUPTIONS,
            severities=options.severities,
            seed=seed,
            progress=progress,
        )
    if options.json:
        print_json({**report.to_dict(), "model": str(options.model), "dataset": dataset.name, "source": dataset.source})
        return 0
    print(f"{'severity':<20}" + "".join(f"{severity:>8}" for severity in report.severities))
    for name, row in report.per_corruption.items():
        print(f"{name:<20}" + "".join(f"{value:>8.1%}" for value in row))
    print(f"{'clean':<20}{report.clean:>8.1%}  ({report.n:,} test images of {dataset.name})")
    print(f"{'robust':<20}{report.robust:>8.1%}  (mean over the above; {report.kind} corruptions)")
    return 0


class Expected(NamedTuple):
    """What a network was made for; None where its file does not say."""

    in_chans: int
    classes: Optional[Tuple[str, ...]]


def _load(options: EvaluateArguments) -> Tuple[Any, Optional[int], Expected]:
    """The model, the image size it wants, and the data it was made for."""
    path = options.model / "model.onnx" if options.model.is_dir() else options.model
    if path.suffix == ".onnx":
        from gearnn.engine.runtimes import load_runtime

        runtime = load_runtime(path, threads=options.threads)
        classes = json.loads(runtime.metadata["classes"]) if "classes" in runtime.metadata else None
        return runtime, runtime.input_shape[2], Expected(runtime.input_shape[1] or 3, tuple(classes) if classes else None)
    from gearnn.device import choose_device, set_threads
    from gearnn.network import load_deployable

    set_threads(options.threads)
    network, card = load_deployable(path)
    return network.to(choose_device(options.device)), card.image_size, Expected(card.in_chans, card.classes)


def _check_fit(model: Path, expected: Expected, dataset: Dataset) -> None:
    """Raise UserError if the network was made for other data: its score would mean nothing."""
    if expected.in_chans != dataset.in_chans:
        raise UserError(
            f"{model} takes images of {expected.in_chans} channels, but those of {dataset.name} have {dataset.in_chans}: "
            "name its own data with --data"
        )
    if expected.classes is not None and expected.classes != dataset.classes:
        raise UserError(
            f"{model} tells apart {len(expected.classes)} classes ({', '.join(expected.classes[:3])}, …), but {dataset.name} has "
            f"others ({', '.join(dataset.classes[:3])}, …): name its own data with --data"
        )


def _run_config(model: Path) -> Dict[str, Any]:
    """The configuration of the run, where the model is a run folder."""
    from gearnn.files import read_json

    config = model / "config.json"
    return dict(read_json(config)) if config.is_file() else {}
