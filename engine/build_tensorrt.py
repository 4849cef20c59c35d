"""From an ONNX file to a serialised engine: network, profile, configuration, build. One path for TensorRT 8.5 to 11 and RTX."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, List, Optional, Tuple

from gearnn.engine.errors import EngineError
from gearnn.engine.onnx_file import OnnxFile
from gearnn.engine.tensorrt_api import TensorRT

Shape = Tuple[Optional[int], ...]
_INPUTS = {"FLOAT": "float32", "UINT8": "uint8"}
_OUT_OF_MEMORY = re.compile(r"out ?of ?memory|cudaErrorMemoryAllocation|bad_alloc|insufficient memory", re.IGNORECASE)
_SMALL_WORKSPACE = re.compile(r"workspace limit|insufficient workspace|allowed workspace|workspace size", re.IGNORECASE)


@dataclass
class Network:
    """A parsed file. TensorRT's objects refer to each other without holding each other, so all are kept here.

    They are let go of in this order, which is the reverse of how they were made.

    Attributes:
        parser, network, builder, logger: TensorRT's.
        input_name, input_shape, input_dtype: of the one input; None in a shape is any size.
        output_name, output_shape: of the one output.
        precision: that the file itself is in: "fp32", "fp16" or "int8" (Q/DQ nodes).
    """

    parser: Any
    network: Any
    builder: Any
    logger: Any
    input_name: str
    input_shape: Shape
    input_dtype: str
    output_name: str
    output_shape: Shape
    precision: str


@dataclass
class Settings:
    """What an engine is built with.

    Attributes:
        precision: "fp32", "fp16" or "int8".
        shapes: smallest, best and largest input.
        workspace_mb: memory limit, MiB.
        optimization_level: 0 to 5; None leaves TensorRT's own.
        version_compatible: run on other versions of the same major one.
        compute_capability: such as "8.6", to build ahead of time (RTX).
        calibrator: for INT8 without Q/DQ.
        flags: the precision flags that were set, filled in by `configure`.
    """

    precision: str
    shapes: Tuple[Tuple[int, ...], Tuple[int, ...], Tuple[int, ...]]
    workspace_mb: int
    optimization_level: Optional[int] = None
    version_compatible: bool = False
    compute_capability: Optional[str] = None
    calibrator: Optional[Any] = None
    flags: List[str] = field(default_factory=list)


def parse(trt: TensorRT, content: bytes, path: str, facts: OnnxFile, verbose: bool = False) -> Network:
    """Read an ONNX file.

    Args:
        content: of the file.
        path: of the file, for messages and for weights stored beside it.
        facts: of the file, to name nodes where TensorRT gives only their number (8.5).

    Raises:
        EngineError: with every error of the parser and its node; or if it is not one input and one output of types we run.
    """
    logger = trt.logger(verbose)
    module = trt.module
    try:
        builder = module.Builder(logger)
    except (TypeError, RuntimeError) as error:  # what pybind11 raises when the factory returns null
        raise EngineError(
            f"{trt.flavour} {trt.version} cannot start ({_last(logger) or error}): it builds only beside a GPU"
        ) from error
    flags = 0
    if trt.features.explicit_batch_flag:
        flags |= 1 << int(module.NetworkDefinitionCreationFlag.EXPLICIT_BATCH)
    if trt.typed_by_file and trt.features.strongly_typed:
        flags |= 1 << int(module.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    network = builder.create_network(flags)
    parser = module.OnnxParser(network, logger)
    if not parser.parse(content, path):
        errors = [_describe(parser.get_error(index), facts) for index in range(parser.num_errors)] or [
            _last(logger) or "no reason given"
        ]
        raise EngineError(
            f"{trt.flavour} {trt.version} cannot read {path}: {'; '.join(errors)}: "
            "replace these operators in the model, or export it again with gearnn export"
        )
    return _inspect(trt, builder, network, parser, logger, path)


def _describe(error: Any, facts: OnnxFile) -> str:
    """One of the parser's errors with its node."""
    index = error.node()
    name, kind = facts.nodes[index] if 0 <= index < len(facts.nodes) else ("", "")
    if hasattr(error, "node_name"):
        name, kind = error.node_name() or name, error.node_operator() or kind
    where = f"node {index} {name} ({kind})" if name or kind else "the file"
    return f"{where}: {' '.join(error.desc().split())}"


def _inspect(trt: TensorRT, builder: Any, network: Any, parser: Any, logger: Any, path: str) -> Network:
    if network.num_inputs != 1 or network.num_outputs != 1:
        raise EngineError(
            f"{path} has {network.num_inputs} inputs and {network.num_outputs} outputs: only networks with one input of images "
            "and one output of logits are built"
        )
    source, target = network.get_input(0), network.get_output(0)
    dtype = _INPUTS.get(source.dtype.name)
    if dtype is None or target.dtype.name != "FLOAT":
        raise EngineError(
            f"{path} maps {source.dtype.name} to {target.dtype.name}: its input must be float32 or uint8 and its output float32, "
            "export it with gearnn export"
        )
    layers = [network.get_layer(index) for index in range(network.num_layers)]
    kinds = {layer.type.name for layer in layers}
    types = {layer.get_output(index).dtype.name for layer in layers for index in range(layer.num_outputs)}
    precision = "int8" if kinds & {"QUANTIZE", "DEQUANTIZE"} else "fp16" if "HALF" in types else "fp32"
    return Network(
        parser, network, builder, logger,
        source.name, _sizes(source.shape), dtype, target.name, _sizes(target.shape), precision,
    )  # fmt: skip


def _sizes(shape: Any) -> Shape:
    return tuple(None if size < 0 else int(size) for size in shape)


def configure(trt: TensorRT, parsed: Network, settings: Settings) -> Any:
    """A builder's configuration with memory, precision, profile and options set.

    Raises:
        EngineError: if this TensorRT lacks an option, or takes no such profile.
    """
    module, config = trt.module, parsed.builder.create_builder_config()
    config.set_memory_pool_limit(module.MemoryPoolType.WORKSPACE, settings.workspace_mb << 20)
    config.profiling_verbosity = module.ProfilingVerbosity.DETAILED  # so that layers can be told apart when they are timed
    if trt.features.precision_flags:
        # What INT8 leaves over may run in FP16, as with trtexec --int8 --fp16.
        settings.flags = {"fp32": [], "fp16": ["FP16"], "int8": ["INT8", "FP16"]}[settings.precision]
        for flag in settings.flags:
            config.set_flag(getattr(module.BuilderFlag, flag))
    if settings.optimization_level is not None:
        if not trt.features.optimization_level:
            raise EngineError(
                f"{trt.flavour} {trt.version} has no optimization levels (8.6 and later have): leave the option out"
            )
        config.builder_optimization_level = settings.optimization_level
    if settings.version_compatible:
        if not trt.features.version_compatible:
            raise EngineError(
                f"{trt.flavour} {trt.version} makes no version-compatible engines (8.6 and later do): leave the option out"
            )
        config.set_flag(module.BuilderFlag.VERSION_COMPATIBLE)
    if settings.compute_capability is not None:
        capability = _capability(trt, settings.compute_capability)
        config.num_compute_capabilities = 1
        config.set_compute_capability(capability, 0)
    _add_profile(parsed, config, settings)
    return config


def _add_profile(parsed: Network, config: Any, settings: Settings) -> None:
    """Smallest, best and largest shape, which networks with an open size need; and the calibrator, which takes the best one."""
    if None in parsed.input_shape:
        profile = parsed.builder.create_optimization_profile()
        profile.set_shape(parsed.input_name, *settings.shapes)
        if config.add_optimization_profile(profile) < 0:
            raise EngineError(f"TensorRT takes no batches {settings.shapes} ({_last(parsed.logger)}): give min <= opt <= max")
        if settings.calibrator is not None:
            config.set_calibration_profile(profile)
    if settings.calibrator is not None:
        config.int8_calibrator = settings.calibrator


def _capability(trt: TensorRT, wanted: str) -> Any:
    """The member of TensorRT's enumeration for a compute capability such as "8.6"."""
    if not trt.features.compute_capabilities:
        raise EngineError(
            f"{trt.flavour} {trt.version} builds for the GPU it runs on only: build there without --compute-capability, "
            "or use --runtime tensorrt_rtx"
        )
    known = trt.module.ComputeCapability
    names = [name for name in dir(known) if name.startswith("SM")]
    name = "SM" + wanted.replace(".", "")
    if name not in names or "." not in wanted:
        there = ", ".join(f"{name[2:-1]}.{name[-1]}" for name in sorted(names, key=lambda name: int(name[2:])))
        raise EngineError(f"{trt.flavour} {trt.version} cannot build for compute capability {wanted!r}: choose from {there}")
    return getattr(known, name)


def serialize(trt: TensorRT, parsed: Network, config: Any, settings: Settings) -> Optional[Any]:
    """Build; a buffer with the engine, or None if it ran out of memory and may be tried again with less.

    Raises:
        EngineError: what was wrong with the calibration images, or TensorRT's last error and what may be done about it.
    """
    parsed.logger.errors.clear()
    try:
        plan = parsed.builder.build_serialized_network(parsed.network, config)
    except MemoryError:
        return None
    except RuntimeError as error:
        parsed.logger.errors.append(str(error))
        plan = None
    text = " ".join(parsed.logger.errors)
    if settings.calibrator is not None:
        settings.calibrator.raise_failure()
    if plan is None and _OUT_OF_MEMORY.search(text):
        return None
    if settings.calibrator is not None:
        settings.calibrator.check_images()
    if plan is not None:
        return plan
    cure = "raise --workspace-mb" if _SMALL_WORKSPACE.search(text) else "run it again with --verbose to see every step"
    raise EngineError(f"{trt.flavour} {trt.version} built no engine ({_last(parsed.logger) or 'no reason given'}): {cure}")


def set_workspace(trt: TensorRT, config: Any, mb: int) -> None:
    """Change the memory limit of a configuration."""
    config.set_memory_pool_limit(trt.module.MemoryPoolType.WORKSPACE, mb << 20)


def _last(logger: Any) -> str:
    """The last error that was logged, on one line."""
    text = " ".join(logger.errors[-1].split()) if logger.errors else ""
    return text if len(text) <= 300 else text[:300] + "…"
