"""What a deployed file is and what it runs on: a JSON file beside it, checked before any native library reads the file.

TensorRT engines run on the version and the kind of GPU they were built for; elsewhere they fail with a cryptic message, or worse.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Dict, Mapping, Optional, Tuple, Union

from gearnn.engine.errors import EngineError, printable
from gearnn.engine.files import write_bytes
from gearnn.engine.json_text import parse_json

FORMAT = 1
RUNTIMES = ("onnxruntime", "tensorrt", "tensorrt_rtx")
PRECISIONS = ("fp32", "fp16", "int8")
_TEXTS = (
    "file", "sha256", "runtime", "runtime_version", "precision", "input_name", "input_dtype", "layout", "output_name", "rebuild",
)  # fmt: skip
_LARGEST = 1 << 20  # bytes of a manifest: ours have a few thousand
_BLOCK = 1 << 20


@dataclass(frozen=True)
class Manifest:
    """Of one file.

    Attributes:
        file: name of the file beside the manifest.
        sha256: of that file.
        runtime: "onnxruntime" for ONNX files, "tensorrt" or "tensorrt_rtx" for engines.
        runtime_version: it was built by; of an ONNX file, the version it was checked with.
        precision: "fp32", "fp16" or "int8".
        input_name, input_shape, input_dtype, layout: of the input; None in a shape is any size.
        output_name, output_shape: of the output, float32.
        batch: smallest, best and largest batch an engine was built for; None where any is taken.
        onnx_sha256: of the ONNX file an engine was built from.
        calibration_sha256: of what an INT8 file was calibrated on.
        compute_capability: such as "8.6", of the GPU an engine was built for.
        gpu: that GPU's name; None if it was built ahead of time for a capability.
        metadata: strings of the ONNX file: classes, mean, std and the like. Engines cannot hold any.
        rebuild: command that makes the file anew.
        ready: whether it passed the accuracy gate; None if it was not judged.
        details: anything else worth keeping, JSON-ready.
    """

    file: str
    sha256: str
    runtime: str
    runtime_version: str
    precision: str
    input_name: str
    input_shape: Tuple[Optional[int], ...]
    input_dtype: str
    layout: str
    output_name: str
    output_shape: Tuple[Optional[int], ...]
    batch: Optional[Tuple[int, int, int]] = None
    onnx_sha256: Optional[str] = None
    calibration_sha256: Optional[str] = None
    compute_capability: Optional[str] = None
    gpu: Optional[str] = None
    metadata: Dict[str, str] = field(default_factory=dict)
    rebuild: str = ""
    ready: Optional[bool] = None
    details: Dict[str, Any] = field(default_factory=dict)


def manifest_path(engine: Union[str, Path]) -> Path:
    """Where the manifest of a file lies."""
    engine = Path(engine)
    return engine.with_name(engine.name + ".manifest.json")


def sha256_of(path: Union[str, Path]) -> str:
    """SHA-256 of a file, in hexadecimal.

    Raises:
        EngineError: if it cannot be read.
    """
    digest = hashlib.sha256()
    try:
        with Path(path).open("rb") as stream:
            for block in iter(lambda: stream.read(_BLOCK), b""):
                digest.update(block)
    except OSError as error:
        raise EngineError(f"cannot read {path} ({error.strerror or error}): check the path") from error
    return digest.hexdigest()


def write_manifest(engine: Union[str, Path], manifest: Manifest) -> Path:
    """Write the manifest of a file beside it, whole or not at all; returns its path.

    Raises:
        EngineError: if it cannot be written.
    """
    path = manifest_path(engine)
    text = json.dumps({"format": FORMAT, **asdict(manifest)}, indent=2, ensure_ascii=False, allow_nan=False)
    write_bytes(path, text.encode() + b"\n")
    return path


def read_manifest(engine: Union[str, Path]) -> Manifest:
    """The manifest of a file.

    Raises:
        EngineError: if there is none, or it does not hold what a manifest must.
    """
    path = manifest_path(engine)
    try:
        if path.exists() and not path.is_file():
            raise ValueError("it is not a regular file")
        if path.stat().st_size > _LARGEST:
            raise ValueError("it is too large")
        content = parse_json(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            raise ValueError(f"its format is not {FORMAT}")
        return _parse(content)
    except OSError as error:
        raise EngineError(
            f"{engine} has no manifest {path.name} beside it ({error.strerror or error}), so what it was built for is not known: "
            "copy both, or build it again with gearnn build"
        ) from error
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise EngineError(f"{path} is not a manifest ({error}): restore it, or build {engine} again with gearnn build") from error


def onnx_manifest(path: Union[str, Path], precision: str, rebuild: str, **rest: Any) -> Manifest:
    """The manifest of an ONNX file as ONNX Runtime sees it; ``rest`` are further fields.

    Raises:
        EngineError: if ONNX Runtime cannot load the file.
    """
    from gearnn.engine.runtimes.onnxruntime import CPU, OnnxRuntime

    path = Path(path)
    with OnnxRuntime.load(path, 1, providers=(CPU,)) as runtime:
        return Manifest(
            file=path.name,
            sha256=sha256_of(path),
            runtime=runtime.name,
            runtime_version=runtime.version,
            precision=precision,
            input_name=runtime.input_name,
            input_shape=runtime.input_shape,
            input_dtype=str(runtime.input_dtype),
            layout=runtime.layout,
            output_name=runtime.output_name,
            output_shape=runtime.output_shape,
            metadata=runtime.metadata,
            rebuild=rebuild,
            **rest,
        )


def check_file(engine: Union[str, Path], manifest: Manifest) -> None:
    """Do nothing if the file is the one the manifest speaks of, to the byte.

    Raises:
        EngineError: with both digests.
    """
    found = sha256_of(engine)
    if found != manifest.sha256:
        raise EngineError(
            f"{engine} is not the file its manifest speaks of (SHA-256 {manifest.sha256[:12]}… there, {found[:12]}… here): "
            f"copy it again, or rebuild it{_with(manifest)}"
        )


def check_manifest(
    engine: Union[str, Path],
    manifest: Manifest,
    *,
    runtime: str,
    runtime_version: str,
    compute_capability: Optional[str],
    gpu: Optional[str],
) -> None:
    """Do nothing if an engine may be handed to this runtime on this device. To be called before deserialising.

    Versions must be equal, unless the engine was built version-compatible (``details["version_compatible"]``) and the major
    versions are. The GPU's name is compared where the engine was built on one; None stands for what is not known here.

    Raises:
        EngineError: naming both sides and the command that rebuilds.
    """
    check_file(engine, manifest)
    here = {"runtime": runtime, "version": runtime_version, "compute capability": compute_capability, "GPU": gpu}
    built = {
        "runtime": manifest.runtime, "version": manifest.runtime_version,
        "compute capability": manifest.compute_capability, "GPU": manifest.gpu,
    }  # fmt: skip
    for what, wanted in built.items():
        if wanted is None or here[what] is None or _same(what, wanted, str(here[what]), manifest.details):
            continue
        on_gpu = f" on {gpu}" if gpu else ""
        raise EngineError(
            f"{engine} was built by {manifest.runtime} {manifest.runtime_version} for {manifest.gpu or 'GPUs'} of compute "
            f"capability {manifest.compute_capability}, but here is {runtime} {runtime_version}{on_gpu} of "
            f"{compute_capability or 'unknown capability'}: the {what} differs, rebuild it here{_with(manifest)}"
        )


def _same(what: str, built: str, here: str, details: Mapping[str, Any]) -> bool:
    if what == "version" and details.get("version_compatible") is True:
        return built.split(".")[0] == here.split(".")[0]
    return built == here


def _with(manifest: Manifest) -> str:
    return f" with: {manifest.rebuild}" if manifest.rebuild else " with gearnn build"


def _parse(content: Dict[str, Any]) -> Manifest:
    """A manifest out of JSON, every field of its type; raises KeyError, TypeError or ValueError."""
    values: Dict[str, Any] = {entry.name: content[entry.name] for entry in fields(Manifest)}
    for name in _TEXTS:
        _expect(isinstance(values[name], str), name)
        values[name] = printable(values[name])
    for name in ("onnx_sha256", "calibration_sha256", "compute_capability", "gpu"):
        _expect(values[name] is None or isinstance(values[name], str), name)
        values[name] = None if values[name] is None else printable(values[name])
    for name in ("input_shape", "output_shape", "batch"):
        values[name] = _sizes(values[name], name)
    _expect(values["batch"] is None or len(values["batch"]) == 3, "batch")
    _expect(values["ready"] in (None, True, False), "ready")
    _expect(isinstance(values["details"], dict), "details")
    strings = values["metadata"]
    _expect(isinstance(strings, dict) and all(isinstance(value, str) for value in strings.values()), "metadata")
    _expect(values["runtime"] in RUNTIMES, "runtime")
    _expect(values["precision"] in PRECISIONS, "precision")
    _expect(Path(values["file"]).name == values["file"], "file")
    return Manifest(**values)


def _sizes(value: Any, name: str) -> Optional[Tuple[Optional[int], ...]]:
    if value is None and name == "batch":
        return None
    _expect(isinstance(value, list), name)
    for size in value:
        _expect((size is None and name != "batch") or (type(size) is int and size > 0), name)
    return tuple(value)


def _expect(fits: bool, name: str) -> None:
    if not fits:
        raise ValueError(f"its {name!r} is not what it must be")
