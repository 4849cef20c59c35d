"""From a run folder to a bundle: the network at every precision, each judged on its engine, with a model card."""

from __future__ import annotations

import shutil
import tempfile
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Dict, Mapping, Optional, Tuple

from gearnn.data import Dataset, load_data
from gearnn.engine.bundle import write_bundle
from gearnn.engine.environment import environment, usable_cores
from gearnn.engine.manifest import PRECISIONS, onnx_manifest, sha256_of, write_manifest
from gearnn.engine.profile import profile_latency
from gearnn.engine.runtimes import load_runtime
from gearnn.errors import UserError
from gearnn.files import read_json
from gearnn.gate import REFERENCE, Verdict, verdicts
from gearnn.measure import agreement, deploy, disagreement
from gearnn.model_card import model_card
from gearnn.network import load_deployable
from gearnn.precisions import convert
from gearnn.progress import Progress, no_progress
from gearnn.robustness import benchmark_models
from gearnn.robustness.corruptions import SEVERITIES
from gearnn.run_facts import check_result, check_types

_WORTH = 0.9  # another precision becomes the default where it takes less than this share of FP32's time
_SAME = 0.005  # of the clean accuracy, between two measurements of one network on the same images
_COMPARED = 256  # images on which the exported network is held against torch


@dataclass(frozen=True)
class BundleOptions:
    """What goes into a bundle and how it is judged.

    Attributes:
        precisions: some of "fp32", "fp16", "int8"; FP32 is always there.
        max_drop: points that clean and robust accuracy may each lie below FP32's.
        keep: ONNX nodes that INT8 leaves in floating point.
        keep_worst: leave at most so many more in floating point, the most sensitive first, until INT8 passes.
        calibration_images: training images that INT8's ranges are taken from.
        pixels: the networks take uint8 images with their channels last.
        data: where the images are; by default where the run found them.
        limit_test, severities: of the images they are judged on.
        name: of the network; by default the run folder's.
        seed: of the calibration images and the corruptions; by default the run's.
        int8_for: where INT8 is to be fast: "tensorrt" (ONNX Runtime runs it too) or "onnxruntime" (TensorRT refuses it).
    """

    precisions: Tuple[str, ...] = PRECISIONS
    max_drop: float = 1.0
    keep: Tuple[str, ...] = ()
    keep_worst: int = 0
    calibration_images: int = 512
    pixels: bool = False
    data: Optional[Path] = None
    limit_test: Optional[int] = None
    severities: Tuple[int, ...] = SEVERITIES
    threads: Optional[int] = None
    name: Optional[str] = None
    seed: Optional[int] = None
    int8_for: str = "tensorrt"


def bundle_run(run: Path, out: Path, options: BundleOptions, progress: Progress = no_progress) -> Dict[str, Any]:
    """Make every precision of a run's network, judge each on its engine, and write the bundle: a folder, or a zip by its name.

    Returns:
        JSON-ready: "out", "default", "precisions" (verdict, latency and bytes of each), "conditions".

    Raises:
        UserError, EngineError: one sentence each; nothing half-written is left.
    """
    options = replace(options, precisions=_checked(options.precisions))
    config, result = read_json(run / "config.json"), read_json(run / "result.json")
    check_types(config, run / "config.json", needed=("seed",))
    check_result(result, run / "result.json")
    dataset = _data(run, config, result, options, progress)
    seed = config["seed"] if options.seed is None else options.seed
    with tempfile.TemporaryDirectory(prefix="gearnn-precisions-") as scratch:
        folder = Path(scratch)
        whole, problem = _float_network(run, folder, dataset, options)
        models = {REFERENCE: whole}
        for precision in options.precisions:
            if precision != REFERENCE:
                models[precision] = convert(
                    models[REFERENCE], precision, dataset.train,
                    images=options.calibration_images, keep=options.keep if precision == "int8" else (),
                    keep_worst=options.keep_worst, max_drop=options.max_drop, runtime=options.int8_for,
                    threads=options.threads or usable_cores(), seed=seed, progress=progress,
                )  # fmt: skip
        facts = _judge(models, dataset, options, seed, progress)
        _check_same_images(run, result, facts[REFERENCE]["clean"], facts[REFERENCE]["n"])
        if problem:  # nor is what was made of it
            facts = {name: {**entry, "ready": False, "reason": problem} for name, entry in facts.items()}
        default = REFERENCE if problem else fastest_ready(facts)
        conditions = {**environment(), "threads": facts[REFERENCE]["threads"], "seed": seed}
        for precision, path in models.items():
            rebuild = f"gearnn bundle {run} --precisions {' '.join(models)}"
            origin = None if precision == REFERENCE else sha256_of(models[REFERENCE])
            manifest = onnx_manifest(path, precision, rebuild, onnx_sha256=origin, ready=facts[precision]["ready"])
            write_manifest(path, replace(manifest, calibration_sha256=manifest.metadata.get("calibration_sha256")))
        write_bundle(
            out, models,
            name=options.name or run.resolve().name, classes=dataset.classes, channels=dataset.in_chans, size=dataset.image_size,
            default=default, facts=facts, card=model_card(result, facts, default, conditions),
        )  # fmt: skip
    return {"out": str(out), "default": default, "precisions": facts, "conditions": conditions}


def fastest_ready(facts: Mapping[str, Mapping[str, Any]]) -> str:
    """The precision to use unless told otherwise: FP32, or the fastest ready one that takes less than 0.9 of its time here."""
    times = {name: entry["latency_ms_p50"] for name, entry in facts.items() if entry["ready"]}
    best = min(times, key=lambda name: times[name])
    return best if times[best] < _WORTH * times[REFERENCE] else REFERENCE


def _check_same_images(run: Path, result: Mapping[str, Any], clean: float, n: int) -> None:
    """Warn if the very network of the run does otherwise now: then the images are other ones, and the verdicts mean little."""
    if n == result["dataset"]["n_test"] and abs(clean - result["clean_accuracy"]) > _SAME:
        warnings.warn(
            f"{run} was right on {result['clean_accuracy']:.1%} of its test images, its network is on {clean:.1%} of these: "
            "they are not the same, name the run's own with --data",
            RuntimeWarning,
            stacklevel=3,
        )


def _checked(precisions: Tuple[str, ...]) -> Tuple[str, ...]:
    unknown = [name for name in precisions if name not in PRECISIONS]
    if unknown:
        raise UserError(f"there is no precision {unknown[0]!r}: choose from {', '.join(PRECISIONS)}")
    return tuple(name for name in PRECISIONS if name in precisions or name == REFERENCE)


def _data(run: Path, config: Mapping[str, Any], result: Mapping[str, Any], options: BundleOptions, progress: Progress) -> Dataset:
    """The run's own images, its held-out ones among them."""
    source = options.data or (Path(config["data"]) if config.get("data") else None)
    dataset = load_data(
        source,
        image_size=result["image_size"],
        limit_train=config.get("limit_train"),
        limit_test=options.limit_test or config.get("limit_test"),
        seed=config["seed"],
        progress=progress,
    )
    if list(dataset.classes) != list(result["classes"]) or dataset.in_chans != result["in_chans"]:
        raise UserError(
            f"{dataset.source} holds other classes or channels than {run} was trained on: name its own data with --data"
        )
    return dataset


def _float_network(run: Path, folder: Path, dataset: Dataset, options: BundleOptions) -> Tuple[Path, Optional[str]]:
    """The run's FP32 network, exported anew where it is to take pixels; and why it does not compute what torch does, if so."""
    weights, onnx, path = run / "model.safetensors", run / "model.onnx", folder / "model.onnx"
    again = f"gearnn run --resume --out {run} writes it anew"
    for source in (weights, onnx):
        if not source.is_file():
            raise UserError(f"there is no {source.name} in {run}: {again}")
    model, card = load_deployable(weights)
    if (card.in_chans, card.image_size, len(card.classes)) != (dataset.in_chans, dataset.image_size, dataset.num_classes):
        raise UserError(f"{weights} is a network for other images than the run's: {again}")
    images = dataset.test.images[:_COMPARED]
    if options.pixels:
        problem = deploy(weights, path, images, options.threads, check=False, pixels=True)["disagreement"]
    else:
        try:
            shutil.copyfile(onnx, path)
        except OSError as error:
            raise UserError(f"cannot copy {onnx} ({error.strerror or error}): free some space for {folder}") from error
        problem = disagreement(agreement(model, path, images, options.threads))
    if problem:
        warnings.warn(f"the network of {run} is not ready: {problem}", RuntimeWarning, stacklevel=3)
    return path, problem


def _judge(
    models: Mapping[str, Path], dataset: Dataset, options: BundleOptions, seed: int, progress: Progress
) -> Dict[str, Dict[str, Any]]:
    """Verdict, latency and size of each precision on its engine."""
    runtimes = {name: load_runtime(path, threads=options.threads) for name, path in models.items()}
    try:
        reports = benchmark_models(runtimes, dataset.test, severities=options.severities, seed=seed, progress=progress)
        found: Dict[str, Verdict] = verdicts(reports, options.max_drop)
        times = {name: profile_latency(runtime, (1,), seed=seed)[0] for name, runtime in runtimes.items()}
        return {
            name: {
                **verdict.to_dict(),
                "latency_ms_p50": times[name].p50_ms,
                "bytes": models[name].stat().st_size,
                "runtime": runtimes[name].name,
                "version": runtimes[name].version,
                "threads": runtimes[name].threads,
            }
            for name, verdict in found.items()
        }
    finally:
        for runtime in runtimes.values():
            runtime.close()
