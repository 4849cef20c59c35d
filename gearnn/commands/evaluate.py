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
    """Clean and robust accuracy of a network: a run folder, an .onnx file, a TensorRT engine or a .safetensors file.

    The corruptions are generated with CIFAR-10-C's published parameters, and labelled so. With --against, the network is held
    against another one, usually its FP32 version: more than --max-drop points below it, and it is not marked ready in its
    manifest (where it has one), and the exit code is 1.

    Examples:

      gearnn evaluate runs/demo

      gearnn evaluate runs/photos/model.onnx --data photos/ --severities 1 3 5 --json

      gearnn evaluate model.engine --data photos/ --against runs/photos/model.onnx --max-drop 0.5
    """

    model: Annotated[Path, tyro.conf.Positional]
    """Run folder, .onnx, .engine or .safetensors."""
    against: Optional[Path] = None
    """Network to hold it against, of any of these kinds."""
    max_drop: float = 1.0
    """Points that clean and robust accuracy may each lie below those of --against."""
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
    """For .safetensors: auto, cpu or cuda. For other files the runtime says."""
    threads: Optional[int] = None
    json: bool = False
    """Print the report on standard output as JSON."""


def main(arguments: List[str]) -> int:
    """Evaluate and print."""
    options = parse(EvaluateArguments, arguments, "evaluate")
    from gearnn.console import console_progress
    from gearnn.data import load_data
    from gearnn.gate import table, verdicts
    from gearnn.robustness import CORRUPTIONS, benchmark_models

    model, size, expected = _load(options.model, options)
    reference = _load(options.against, options) if options.against else None
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
        models = {"model": model}
        if options.against and reference:
            _check_fit(options.against, reference[2], dataset)
            models["fp32"] = reference[0]
        reports = benchmark_models(
            models,
            dataset.test,
            corruptions=options.corruptions or CORRUPTIONS,
            severities=options.severities,
            seed=seed,
            progress=progress,
        )
    report = reports["model"]
    verdict = verdicts(reports, options.max_drop)["model"] if options.against else None
    if verdict and options.model.is_file():
        _mark(options.model, verdict.ready)
    failed = 1 if verdict and not verdict.ready else 0
    if options.json:
        facts = {"model": str(options.model), "dataset": dataset.name, "source": dataset.source}
        against = {"against": str(options.against), **verdict.to_dict()} if verdict else None
        print_json({**report.to_dict(), **facts, "verdict": against})
        return failed
    print(f"{'severity':<20}" + "".join(f"{severity:>8}" for severity in report.severities))
    for name, row in report.per_corruption.items():
        print(f"{name:<20}" + "".join(f"{value:>8.1%}" for value in row))
    print(f"{'clean':<20}{report.clean:>8.1%}  ({report.n:,} test images of {dataset.name})")
    print(f"{'robust':<20}{report.robust:>8.1%}  (mean over the above; {report.kind} corruptions)")
    if verdict:
        found = {"fp32": verdicts(reports, options.max_drop)["fp32"].to_dict(), "model": verdict.to_dict()}
        print("\n".join(["", f"against {options.against}:", *table(found, per_corruption=True)]).replace("FP32", "it"))
    return failed


class Expected(NamedTuple):
    """What a network was made for; None where its file does not say."""

    in_chans: int
    classes: Optional[Tuple[str, ...]]


def _mark(model: Path, ready: bool) -> None:
    """Write the verdict into the manifest of a file that has one."""
    from dataclasses import replace

    from gearnn.engine.manifest import manifest_path, read_manifest, write_manifest

    if manifest_path(model).is_file():
        write_manifest(model, replace(read_manifest(model), ready=ready))


def _load(network: Path, options: EvaluateArguments) -> Tuple[Any, Optional[int], Expected]:
    """The model, the image size it wants, and the data it was made for."""
    path = network / "model.onnx" if network.is_dir() else network
    if path.suffix != ".safetensors":
        from gearnn.engine.runtimes import load_runtime

        runtime = load_runtime(path, threads=options.threads)
        classes = json.loads(runtime.metadata["classes"]) if "classes" in runtime.metadata else None
        channels, height, _ = runtime.image_shape
        return runtime, height, Expected(channels or 3, tuple(classes) if classes else None)
    from gearnn.device import choose_device, set_threads
    from gearnn.network import load_deployable

    set_threads(options.threads)
    model, card = load_deployable(path)
    return model.to(choose_device(options.device)), card.image_size, Expected(card.in_chans, card.classes)


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
