"""``gearnn evaluate``: judge a network."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

import tyro
from typing_extensions import Annotated

from gearnn.commands.parsing import parse, print_json
from gearnn.errors import UserError

if TYPE_CHECKING:
    from gearnn.data import Dataset
    from gearnn.gate import Verdict
    from gearnn.robustness import Report


@dataclass(frozen=True)
class EvaluateArguments:
    """Clean and robust accuracy of a network: a run folder, an .onnx file, a TensorRT engine or a .safetensors file.

    The corruptions are generated with the published parameters for the size of the images, and labelled so; --official takes
    the published files. Generated images are kept for the next network. With --against, the network is held against another
    one, usually its FP32 version: more than --max-drop points below it, and surely not by chance of the test images, and it is
    not marked ready in its manifest (where it has one), and the exit code is 1.

    Examples:

      gearnn evaluate runs/demo

      gearnn evaluate runs/photos/model.onnx --data photos/ --severities 1 3 5 --json

      gearnn evaluate model.engine --data photos/ --against runs/photos/model.onnx --max-drop 0.5

      gearnn evaluate runs/demo --data cifar-10-batches-bin/ --official CIFAR-10-C/ --extra

      gearnn evaluate runs/small --baseline runs/big --corruption-cache /mnt/data/corruptions
    """

    model: Annotated[Path, tyro.conf.Positional]
    """Run folder, .onnx, .engine or .safetensors."""
    against: Optional[Path] = None
    """Network to hold it against, of any of these kinds."""
    max_drop: float = 1.0
    """Points that clean and robust accuracy may each lie below those of --against."""
    baseline: Optional[Path] = None
    """Network, of any of these kinds, whose errors the mean corruption error (mCE) is relative to."""
    data: Optional[Path] = None
    """As for gearnn run; by default what the run was trained on, with its test images."""
    official: Optional[Path] = None
    """Folder with the published CIFAR-10-C, CIFAR-100-C or Tiny-ImageNet-C; clean accuracy is still that on --data."""
    limit_test: Optional[int] = None
    """Use at most this many test images; by default as many as the run did."""
    corruptions: Optional[Tuple[str, ...]] = None
    """Some of the 15, or of the extra four beside them; by default the 15."""
    extra: bool = False
    """Also the extra four (speckle noise, Gaussian blur, spatter, saturate), apart from robust accuracy."""
    severities: Tuple[int, ...] = (1, 2, 3, 4, 5)
    seed: Optional[int] = None
    """Of the corruptions; by default the run's, else 0. For --data without a test set, also of the split."""
    device: str = "auto"
    """For .safetensors: auto, cpu or cuda. For other files the runtime says."""
    threads: Optional[int] = None
    corruption_cache: str = "auto"
    """Folder for generated images, auto ($GEARNN_CORRUPTION_CACHE, else your cache folder) or off."""
    cache_limit: float = 4.0
    """GB (10⁹ bytes) that the folder may hold; what was not used for longest is removed."""
    json: bool = False
    """Print the report on standard output as JSON."""


def main(arguments: List[str]) -> int:
    """Evaluate and print."""
    options = parse(EvaluateArguments, arguments, "evaluate")
    from gearnn.console import console_progress
    from gearnn.data import load_data
    from gearnn.engine.environment import usable_cores
    from gearnn.gate import verdicts
    from gearnn.robustness import CORRUPTIONS, EXTRA_CORRUPTIONS, benchmark_models, corruption_cache, open_official

    if not options.cache_limit >= 0:
        raise UserError(f"--cache-limit must be 0 GB or more, not {options.cache_limit}")
    named = {"model": options.model, "fp32": options.against, "baseline": options.baseline}
    loaded = {name: (path, *_load(path, options)) for name, path in named.items() if path}
    run = _run_config(options.model)
    # Of a run's own data, the very test images that it held out: whatever the seed of the corruptions.
    own = run if options.data is None else {}
    seed = run.get("seed", 0) if options.seed is None else options.seed
    limit, data_seed = options.limit_test or own.get("limit_test"), own.get("seed", seed)
    corruptions = options.corruptions or CORRUPTIONS
    if options.extra:
        corruptions = tuple(dict.fromkeys((*corruptions, *EXTRA_CORRUPTIONS)))
    workers = options.threads or usable_cores()
    with console_progress() as progress:
        dataset = load_data(
            options.data or own.get("data"),
            image_size=loaded["model"][2],
            limit_test=limit,
            seed=data_seed,
            progress=progress,
        )
        for path, _, _, expected in loaded.values():
            _check_fit(path, expected, dataset)
        official = None
        if options.official:
            official = open_official(options.official, dataset, limit=limit, seed=data_seed, workers=workers)
        reports = benchmark_models(
            {name: model for name, (_, model, _, _) in loaded.items()},
            dataset.test,
            corruptions=corruptions,
            severities=options.severities,
            seed=seed,
            official=official,
            cache=corruption_cache(options.corruption_cache, int(options.cache_limit * 1e9)),
            workers=workers,
            progress=progress,
        )
    report = reports["model"].against(reports["baseline"]) if "baseline" in reports else reports["model"]
    judged = {name: reports[name] for name in ("fp32", "model") if options.against}
    found = verdicts(judged, options.max_drop) if judged else {}
    verdict = found.get("model")
    if verdict and options.model.is_file():
        _mark(options.model, verdict.ready)
    if options.json:
        facts = {"model": str(options.model), "dataset": dataset.name, "source": dataset.source}
        files = {
            name: str(path) if path else None for name, path in (("official", options.official), ("baseline", options.baseline))
        }
        against = {"against": str(options.against), **verdict.to_dict()} if verdict else None
        print_json({**report.to_dict(), **facts, **files, "verdict": against})
    else:
        _print(report, dataset, options, found)
    return 1 if verdict and not verdict.ready else 0


def _print(report: Report, dataset: Dataset, options: EvaluateArguments, found: Mapping[str, Verdict]) -> None:
    from gearnn.gate import table

    def line(name: str, row: Sequence[float]) -> str:
        return f"{name:<20}" + "".join(f"{value:>8.1%}" for value in row)

    def whole(name: str, value: float, interval: Optional[Tuple[float, float]], ece: Optional[float], what: str) -> str:
        spread = f"  [{interval[0]:.1%}, {interval[1]:.1%}]" if interval else ""
        return line(name, (value,)) + spread + (f"  ECE {ece:.3f}" if ece is not None else "") + f"  ({what})"

    print(f"{'severity':<20}" + "".join(f"{severity:>8}" for severity in report.severities))
    for name, row in report.per_corruption.items():
        print(line(name, row))
    print(line("mean", report.per_severity))
    if report.extra is not None:
        print("\nextra corruptions, not part of robust accuracy")
        for name, row in report.per_corruption_extra.items():
            print(line(name, row))
        print(line("mean of the extra", (report.extra,)))
    print()
    print(
        whole("clean", report.clean, report.clean_interval, report.clean_ece, f"{report.n_clean:,} test images of {dataset.name}")
    )
    how = f"mean over the corruptions, {report.kind} with the {report.parameters} parameters, {report.n:,} images each"
    print(whole("robust", report.robust, report.robust_interval, report.robust_ece, how))
    print("[95 % intervals by bootstrap over the test images; ECE: expected calibration error]")
    if options.baseline:
        mce = "undefined: the baseline makes no error on some corruption" if report.mce is None else f"{report.mce:.3f}"
        print(f"{'mCE':<20}{mce:>8}  (relative to {options.baseline})")
    if found:
        rows = {name: verdict.to_dict() for name, verdict in found.items()}
        print("\n".join(["", f"against {options.against}:", *table(rows, per_corruption=True)]).replace("FP32", "it"))


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
    from gearnn.engine.places import network_at

    path = network_at(network, "a run folder, an .onnx file, an engine or a .safetensors file")
    if path.suffix != ".safetensors":
        from gearnn.engine.json_text import parse_json
        from gearnn.engine.runtimes import load_runtime

        runtime = load_runtime(path, threads=options.threads)
        try:
            classes = parse_json(runtime.metadata["classes"]) if "classes" in runtime.metadata else None
            if not (classes is None or (isinstance(classes, list) and all(isinstance(name, str) for name in classes))):
                raise ValueError("not a list of names")
        except ValueError as error:
            raise UserError(f"{path} does not say what its classes are called ({error}): export it again") from error
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
    from gearnn.run_facts import check_types

    config = model / "config.json"
    if not config.is_file():
        return {}
    found = read_json(config)
    check_types(found, config)
    return dict(found)
