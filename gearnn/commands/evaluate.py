"""``gearnn evaluate``: judge a network."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, List, Optional, Tuple

import tyro
from typing_extensions import Annotated

from gearnn.commands.parsing import parse, print_json


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
    """Of the corruptions, and of the test set where one is drawn; by default the run's, else 0."""
    device: str = "auto"
    """For .safetensors: auto, cpu or cuda. ONNX files run on the CPU."""
    threads: Optional[int] = None
    json: bool = False
    """Print the report on standard output as JSON."""


def main(arguments: List[str]) -> int:
    """Evaluate and print."""
    options = _completed(parse(EvaluateArguments, arguments, "evaluate"))
    from gearnn.console import console_progress
    from gearnn.data import load_data
    from gearnn.robustness import CORRUPTIONS, benchmark

    model, size = _load(options)
    seed = options.seed or 0
    with console_progress() as progress:
        dataset = load_data(options.data, image_size=size, limit_test=options.limit_test, seed=seed, progress=progress)
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
    print(f"{'clean':<20}{report.clean:>8.1%}")
    print(f"{'robust':<20}{report.robust:>8.1%}  ({report.kind} corruptions, mean over the above; {report.n:,} images)")
    return 0


def _completed(options: EvaluateArguments) -> EvaluateArguments:
    """What is not given is as in the run, where the model is a run folder: the same test images, never trained on."""
    config = options.model / "config.json"
    if not config.is_file():
        return options
    from gearnn.files import read_json

    saved = read_json(config)
    own_data = options.data is None
    return replace(
        options,
        data=Path(saved["data"]) if own_data and saved.get("data") else options.data,
        limit_test=saved.get("limit_test") if own_data and options.limit_test is None else options.limit_test,
        seed=saved.get("seed") if options.seed is None else options.seed,
    )


def _load(options: EvaluateArguments) -> Tuple[Any, Optional[int]]:
    """The model, and the image size it wants."""
    path = options.model / "model.onnx" if options.model.is_dir() else options.model
    if path.suffix == ".onnx":
        from gearnn.engine.runtimes import load_runtime

        runtime = load_runtime(path, threads=options.threads)
        return runtime, runtime.input_shape[2]
    from gearnn.device import choose_device, set_threads
    from gearnn.network import load_deployable

    set_threads(options.threads)
    network, card = load_deployable(path)
    return network.to(choose_device(options.device)), card.image_size
