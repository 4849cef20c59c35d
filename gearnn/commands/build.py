"""``gearnn build``: a TensorRT engine for this device."""

from __future__ import annotations

import shlex
import sys
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Dict, Iterator, List, Optional, Tuple

import numpy as np
import tyro
from rich.console import Console
from rich.progress import Progress as Bars
from rich.progress import SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from typing_extensions import Annotated

from gearnn.commands.parsing import parse, print_json
from gearnn.commands.trtexec import translate
from gearnn.console import console_progress
from gearnn.errors import UserError
from gearnn.progress import Progress

_WORTH_SAYING = 2.0  # seconds


@dataclass(frozen=True)
class BuildArguments:
    """Build a TensorRT engine, with a manifest beside it that says what it runs on.

    TensorRT 8 and 10 make FP16 of the FP32 file, and INT8 of the file with Q/DQ nodes; TensorRT 11 and TensorRT-RTX take the
    precision from the file. trtexec's names are understood too: --onnx, --saveEngine, --fp16, --int8, --minShapes,
    --optShapes, --maxShapes, --memPoolSize, --timingCacheFile, --useDLACore, --builderOptimizationLevel, --versionCompatible.

    Examples:

      gearnn build demo-bundle --precision fp16

      gearnn build model.onnx --out model.engine --batch 1:8:32

      gearnn build model.onnx --runtime tensorrt_rtx --compute-capability 8.6

      gearnn build model.onnx --precision int8 --dla-core 0 --data photos/
    """

    model: Annotated[Path, tyro.conf.Positional]
    """Bundle, run folder or .onnx."""
    out: Optional[Path] = None
    """By default beside the model, named after it and its precision."""
    runtime: str = "auto"
    """auto, tensorrt or tensorrt_rtx."""
    precision: str = "auto"
    """auto, fp32, fp16 or int8; auto is the bundle's default, or the file's own."""
    batch: Optional[str] = None
    """min:opt:max, or one size; by default 1:1:32, or what the file fixes."""
    workspace_mb: Optional[int] = None
    """Memory to build with; by default a quarter of what is free, 1024 at most."""
    timing_cache: str = "auto"
    """File, auto (in your cache folder) or off."""
    data: Optional[Path] = None
    """Images to calibrate INT8 on where the file has no Q/DQ nodes, as for the DLA."""
    calibration_images: int = 512
    """So many of them, at most."""
    dla_core: Optional[int] = None
    """Core of a Jetson's deep learning accelerator."""
    compute_capability: Optional[str] = None
    """Such as 8.6: build ahead of time (RTX)."""
    optimization_level: Optional[int] = None
    """0 (fast build) to 5 (thorough)."""
    version_compatible: bool = False
    """Run on later TensorRT of the same major version."""
    seed: int = 0
    """Of the choice of calibration images."""
    verbose: bool = False
    """TensorRT's own log on standard error."""
    json: bool = False
    """Print {"metadata", "results"} on standard output as JSON."""


def main(arguments: List[str]) -> int:
    """Build and print."""
    options = parse(BuildArguments, translate(arguments), "build")
    from gearnn.engine.build import build
    from gearnn.engine.environment import environment
    from gearnn.engine.manifest import manifest_path

    with ExitStack() as stack:
        onnx, precision = _source(options, stack)
        out = options.out or _beside(options, onnx, precision)
        _say_last_time(out)
        manifest = build(
            onnx,
            out,
            runtime=options.runtime,
            precision=precision,
            batch=_batch(options.batch),
            workspace_mb=options.workspace_mb,
            timing_cache=None if options.timing_cache == "off" else options.timing_cache,
            calibration=_calibration(options, onnx) if options.data else None,
            dla_core=options.dla_core,
            compute_capability=options.compute_capability,
            optimization_level=options.optimization_level,
            version_compatible=options.version_compatible,
            verbose=options.verbose,
            rebuild=shlex.join(["gearnn", "build", *arguments]),
            progress=stack.enter_context(_elapsed()),
            remark=_say,
        )
    if options.json:
        print_json({"metadata": environment(), "results": [asdict(manifest)], "out": str(out)})
        return 0
    where = manifest.gpu or f"compute capability {manifest.compute_capability or '8.0 and later'}"
    seconds = manifest.details["build_seconds"]
    print(f"{out}: {manifest.precision} for {where} by {manifest.runtime} {manifest.runtime_version}, in {seconds:.1f} s")
    print(f"{manifest_path(out)} says what it runs on; its accuracy was not judged")
    return 0


def _say(sentence: str) -> None:
    print(sentence, file=sys.stderr)


def _say_last_time(out: Path) -> None:
    """How long the same took before: TensorRT itself cannot say how long it will take."""
    from gearnn.engine.errors import EngineError
    from gearnn.engine.manifest import read_manifest

    try:
        seconds = float(read_manifest(out).details["build_seconds"])
    except (EngineError, KeyError, TypeError, ValueError):
        return
    if seconds >= _WORTH_SAYING:
        _say(f"building {out} took {seconds:.0f} s the last time")


def _source(options: BuildArguments, stack: ExitStack) -> Tuple[Path, str]:
    """The ONNX file to build from and the precision to ask for; a zip stays unpacked until the stack is closed."""
    from gearnn.engine.bundle import is_bundle, open_bundle

    if is_bundle(options.model):
        bundle = stack.enter_context(open_bundle(options.model))
        precision = bundle.default if options.precision == "auto" else options.precision
        # The DLA calibrates the FP32 file itself; and TensorRT can make FP16 of it where the bundle has none.
        stored = precision in bundle.precisions and options.dla_core is None
        facts = bundle.precisions.get(precision, {})
        if facts.get("ready") is False:
            _say(f"{precision} is not marked ready in {options.model}: {facts.get('reason') or 'see its card'}")
        return bundle.model(precision if stored else "fp32"), precision
    if options.model.is_dir():
        plain, stored_file = options.model / "model.onnx", options.model / f"model.{options.precision}.onnx"
        return (stored_file if stored_file.is_file() and options.dla_core is None else plain), options.precision
    return options.model, options.precision


def _beside(options: BuildArguments, onnx: Path, precision: str) -> Path:
    """Where the engine goes unless told: into the folder, beside the file or zip, the precision in its name."""
    plain, stem = precision in ("auto", "fp32"), onnx.stem
    name = stem if plain or stem.endswith(f".{precision}") else f"{stem}.{precision}"
    if options.model.is_dir():
        return options.model / f"{name}.engine"
    prefix = f"{options.model.stem}." if options.model.suffix == ".zip" else ""
    return options.model.with_name(f"{prefix}{name}.engine")


def _batch(text: Optional[str]) -> Optional[Tuple[int, int, int]]:
    """ "1:8:32", or one size for all three."""
    if text is None:
        return None
    sizes = text.split(":")
    if len(sizes) not in (1, 3) or not all(size.isdigit() for size in sizes):
        raise UserError(f"--batch {text!r} is not min:opt:max: write 1:8:32, or one size such as 8")
    first, best, last = (int(size) for size in (sizes * 3 if len(sizes) == 1 else sizes))
    return first, best, last


def _calibration(options: BuildArguments, onnx: Path) -> Iterator[np.ndarray]:
    """Training images as the network takes them, one at a time."""
    from gearnn.data import load_data
    from gearnn.engine.json_text import parse_json
    from gearnn.engine.onnx_file import read_onnx

    try:
        facts = read_onnx(onnx.read_bytes()).metadata
        size = parse_json(facts["image_size"]) if "image_size" in facts else None
        pixels = parse_json(facts.get("input", "{}")).get("dtype") == "uint8"
        if not (size is None or (type(size) is int and 1 <= size <= 1 << 14)):
            raise ValueError("its image size is no size")
    except (OSError, ValueError, AttributeError) as error:
        raise UserError(f"{onnx} does not say what images it takes ({error}): export it again") from error
    images = load_data(options.data, image_size=size, seed=options.seed).train.images
    chosen = np.random.default_rng(options.seed).permutation(len(images))[: options.calibration_images]
    for index in chosen:
        image = images[index : index + 1]
        yield image.transpose(0, 2, 3, 1) if pixels else image.astype(np.float32) / np.float32(255)


@contextmanager
def _elapsed() -> Iterator[Progress]:
    """A spinner with the time that went by: TensorRT says nothing of how far it is. Elsewhere than on a terminal, plain lines."""
    console = Console(stderr=True)
    if not console.is_terminal:
        with console_progress() as progress:
            yield progress
        return
    with Bars(SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn(), console=console) as bars:
        tasks: Dict[str, TaskID] = {}

        def show(label: str, done: int, total: int) -> None:
            if label not in tasks:
                tasks[label] = bars.add_task(label, total=total)
            bars.update(tasks[label], completed=done)

        yield show
