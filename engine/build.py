"""Building a TensorRT engine from an ONNX file, with a manifest beside it."""

from __future__ import annotations

import contextlib
import hashlib
import shlex
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Dict, Iterable, Iterator, Mapping, Optional, Tuple, Union

import numpy as np

from gearnn.engine import cuda_driver, tensorrt_api
from gearnn.engine.build_checks import Batch, check_options, needs_calibration, profile_shapes
from gearnn.engine.build_tensorrt import Network, Settings, configure, parse, serialize, set_workspace
from gearnn.engine.checked_onnx import checked_onnx
from gearnn.engine.dla import check_dla, use_dla
from gearnn.engine.errors import EngineError
from gearnn.engine.files import replacing
from gearnn.engine.int8_calibrator import entropy_calibrator
from gearnn.engine.manifest import Manifest, sha256_of, write_manifest
from gearnn.engine.onnx_file import OnnxFile, read_onnx
from gearnn.engine.runtimes.base import LAYOUTS
from gearnn.engine.tensorrt_api import TensorRT
from gearnn.engine.timing_cache import attach, default_path, save
from gearnn.engine.workspace import choose_workspace

Progress = Callable[[str, int, int], None]
_KEPT = 50  # of TensorRT's warnings, in the manifest


def _silent(*_: object) -> None:
    """Say nothing."""


def build(
    onnx: Union[str, Path],
    out: Union[str, Path],
    *,
    runtime: str = "auto",
    precision: str = "auto",
    batch: Optional[Batch] = None,
    workspace_mb: Optional[int] = None,
    timing_cache: Union[str, Path, None] = "auto",
    calibration: Optional[Iterable[np.ndarray]] = None,
    dla_core: Optional[int] = None,
    compute_capability: Optional[str] = None,
    optimization_level: Optional[int] = None,
    version_compatible: bool = False,
    verbose: bool = False,
    rebuild: Optional[str] = None,
    progress: Progress = _silent,
    remark: Callable[[str], None] = _silent,
) -> Manifest:
    """Build an engine and its manifest; both are written whole, or nothing is.

    Where precisions are builder flags (TensorRT 8 and 10), "fp16" is a flag and "int8" needs a file with Q/DQ nodes, or
    calibration images. Where networks are strongly typed (11 and RTX), the precision is the file's own.

    TensorRT-RTX 1.7 was run, without a GPU; 8.5, 10 and 11 were not run on hardware.

    Args:
        onnx: file with one float32 (B, C, H, W) or uint8 (B, H, W, C) input and one float32 output (B, K).
        out: the engine; by custom its name ends in .engine.
        runtime: "tensorrt", "tensorrt_rtx", or "auto" for the first that is installed.
        precision: "fp32", "fp16", "int8", or "auto" for the file's own.
        batch: smallest, best and largest batch; None takes 1 to 32 with 1 the best, 1 on the DLA, or what the file fixes.
        workspace_mb: memory TensorRT may use while building; None takes a quarter of what is free, 1 GiB at most.
        timing_cache: file; "auto" is one in the user's cache folder, None is none.
        calibration: batches of the network's input type, for INT8 from a file without Q/DQ nodes.
        dla_core: build for this core of a Jetson's DLA, layers it cannot run go to the GPU and are named.
        compute_capability: such as "8.6": build ahead of time for GPUs that are not here (RTX). Without it, RTX builds for all
            from 8.0 on, TensorRT for the one it runs on.
        optimization_level: 0 (fast build) to 5 (thorough); from 8.6 on.
        version_compatible: run on later versions of the same major one; from 8.6 on.
        verbose: TensorRT's own log goes to standard error.
        rebuild: command to be named in the manifest; None makes one of these arguments.
        progress: told when parsing and building begin and end. TensorRT tells nothing useful in between.
        remark: gets sentences worth reading: the workspace, a retry, layers the DLA left over.

    Returns:
        The manifest; ``details`` holds build seconds, workspace, timing cache, flags, DLA fallbacks and TensorRT's warnings.

    Raises:
        EngineError: one sentence, with every parser error in it; nothing half-written is left.
    """
    onnx, out = Path(onnx), Path(out)
    check_options(precision, batch, optimization_level)
    if out.suffix == ".onnx" or out.is_dir():
        raise EngineError(f"{out} is no place for an engine: choose an --out that ends in .engine")
    trt = tensorrt_api.find(runtime)
    target = _target(trt, compute_capability)
    content, facts = _read(onnx)
    if facts.quantized and not trt.features.strongly_typed:
        content = _with_float_weights(onnx)
    progress("parse", 0, 1)
    parsed = parse(trt, content, str(onnx), facts, verbose)
    del content
    progress("parse", 1, 1)

    precision = parsed.precision if precision == "auto" else precision
    shapes = profile_shapes(parsed, onnx, batch, dla_core is not None)
    chosen = (shapes[0][0], shapes[1][0], shapes[2][0])
    if dla_core is not None:
        check_dla(trt, parsed.builder, dla_core, precision, parsed.precision == "int8", chosen)
    calibrated = needs_calibration(trt, parsed, onnx, precision, calibration is not None)
    workspace = choose_workspace(workspace_mb)
    details: Dict[str, Any] = {"remarks": []}

    def note(sentence: str) -> None:
        details["remarks"].append(sentence)
        remark(sentence)

    note(str(workspace))
    if calibration is not None and not calibrated:
        note(f"the calibration images are not needed: {precision.upper()} is built from {onnx.name} without")
    settings = Settings(precision, shapes, workspace.mb, optimization_level, version_compatible, compute_capability)
    with contextlib.ExitStack() as stack:
        if calibrated:
            upload = stack.enter_context(contextlib.closing(cuda_driver.DeviceCopy()))
            # A second try with less memory reads the images again, which an iterator gives only once.
            batches = list(calibration) if isinstance(calibration, Iterator) else calibration
            settings.calibrator = entropy_calibrator(trt, batches or (), shapes[1], np.dtype(parsed.input_dtype), upload)
        config = configure(trt, parsed, settings)
        if dla_core is not None:
            details["dla"] = _on_dla(trt, config, parsed, dla_core, note)
        cache_file = _cache_file(trt, timing_cache, target)
        cache = attach(config, cache_file, note) if cache_file else None
        started = time.monotonic()
        progress("build", 0, 1)
        plan = _serialize(trt, parsed, config, settings, note)
        progress("build", 1, 1)
        details["build_seconds"] = time.monotonic() - started
    if cache is not None and cache_file is not None:
        details["timing_cache"] = {"path": str(cache_file), "bytes": save(config, cache, cache_file, note)}
    details.update(
        workspace_mb=settings.workspace_mb, flags=settings.flags, strongly_typed=trt.typed_by_file,
        optimization_level=optimization_level, version_compatible=version_compatible, warnings=parsed.logger.warnings[:_KEPT],
    )  # fmt: skip
    options = {
        "runtime": trt.flavour, "precision": precision, "batch": ":".join(map(str, chosen)), "workspace-mb": workspace_mb,
        "dla-core": dla_core, "compute-capability": compute_capability, "optimization-level": optimization_level,
    }  # fmt: skip
    manifest = Manifest(
        file=out.name,
        sha256=hashlib.sha256(memoryview(plan)).hexdigest(),
        runtime=trt.flavour,
        runtime_version=trt.version,
        precision=precision,
        input_name=parsed.input_name,
        input_shape=(chosen[0] if chosen[0] == chosen[2] else None, *shapes[0][1:]),
        input_dtype=parsed.input_dtype,
        layout=LAYOUTS[np.dtype(parsed.input_dtype)],
        output_name=parsed.output_name,
        output_shape=parsed.output_shape,
        batch=chosen,
        onnx_sha256=sha256_of(onnx),
        calibration_sha256=settings.calibrator.digest if settings.calibrator else facts.metadata.get("calibration_sha256"),
        compute_capability=target.compute_capability,
        gpu=target.gpu,
        metadata=facts.metadata,
        rebuild=rebuild or _command(onnx, out, options, version_compatible, calibrated),
        details=details,
    )
    # The manifest first: if writing stops between the two, the engine that is there does not fit it and is refused.
    with replacing(out) as temporary:
        temporary.write_bytes(memoryview(plan))
        write_manifest(out, manifest)
    return manifest


@dataclass(frozen=True)
class _Target:
    """Attributes: compute_capability, gpu: that the engine is for; None if not known, or for several."""

    compute_capability: Optional[str]
    gpu: Optional[str]


def _target(trt: TensorRT, compute_capability: Optional[str]) -> _Target:
    """What an engine will be for. RTX builds for every GPU from 8.0 on unless told otherwise; TensorRT for the one here."""
    if trt.features.compute_capabilities:
        return _Target(compute_capability, None)
    found = cuda_driver.gpu()
    if found is None:
        raise EngineError(
            f"{trt.flavour} {trt.version} builds on the GPU an engine is for, and there is none here: build there, or ahead of "
            "time with --runtime tensorrt_rtx --compute-capability 8.6"
        )
    return _Target(found[1], found[0])


def _read(onnx: Path) -> Tuple[bytes, OnnxFile]:
    try:
        facts = read_onnx(onnx.read_bytes())
        return checked_onnx(onnx), facts
    except OSError as error:
        raise EngineError(f"cannot read {onnx} ({error.strerror or error}): check the path") from error
    except ValueError as error:
        raise EngineError(f"{onnx} is not an ONNX file ({error}): export it again with gearnn export") from error


def _with_float_weights(onnx: Path) -> bytes:
    """A Q/DQ file for TensorRT 8, whose parser takes quantised weights as FP32 behind Q/DQ only (its developer guide, "Explicit
    quantization"); the same numbers come out.
    """
    from gearnn.engine.quantize import float_weights

    with tempfile.TemporaryDirectory(prefix="gearnn-build-") as folder:
        return float_weights(onnx, Path(folder) / "wide.onnx").read_bytes()


def _on_dla(trt: TensorRT, config: Any, parsed: Network, core: int, note: Callable[[str], None]) -> Dict[str, Any]:
    """Send what can be to the DLA; the facts for the manifest."""
    left, total = use_dla(trt, config, parsed.network, core), parsed.network.num_layers
    some = f"{len(left)} of {total} layers run on the GPU, not on DLA core {core}: {', '.join(left)}"
    note(some if left else f"all {total} layers run on DLA core {core}")
    return {"core": core, "layers": total, "gpu_layers": left}


def _cache_file(trt: TensorRT, asked: Union[str, Path, None], target: _Target) -> Optional[Path]:
    if asked is None or not trt.features.timing_cache:
        return None
    return default_path(trt.flavour, trt.version, target.gpu) if asked == "auto" else Path(asked)


def _serialize(trt: TensorRT, parsed: Network, config: Any, settings: Settings, note: Callable[[str], None]) -> Any:
    """Build, once more with half the workspace if memory ran out."""
    plan = serialize(trt, parsed, config, settings)
    if plan is None:
        settings.workspace_mb = max(1, settings.workspace_mb // 2)
        note(
            f"memory ran out: once more with a workspace of {settings.workspace_mb} MiB "
            "(tactics that need more are skipped: that makes a slower engine, not a failure)"
        )
        set_workspace(trt, config, settings.workspace_mb)
        if settings.calibrator is not None:
            settings.calibrator.restart()
        plan = serialize(trt, parsed, config, settings)
    if plan is None:
        raise EngineError(
            f"{trt.flavour} {trt.version} ran out of memory twice, the second time with a workspace of {settings.workspace_mb} "
            "MiB: close other programs, or build with a smaller --workspace-mb or smaller batches"
        )
    return plan


def _command(onnx: Path, out: Path, options: Mapping[str, Any], version_compatible: bool, calibrated: bool) -> str:
    """What to type to get the same again."""
    words = ["gearnn", "build", str(onnx), "--out", str(out)]
    words += [word for name, value in options.items() if value is not None for word in (f"--{name}", str(value))]
    words += ["--version-compatible"] if version_compatible else []
    return " ".join(map(shlex.quote, words)) + (" --data IMAGES" if calibrated else "")
