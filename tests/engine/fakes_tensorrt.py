"""Stand-ins for TensorRT 8.5, 10 and 11 whose surfaces are those of NVIDIA's own bindings: what a version lacks, they refuse.

Sources, repository NVIDIA/TensorRT at the tags 8.5.3, v10.3.0 and v11.1: python/src/infer/pyCore.cpp (Builder, IBuilderConfig,
BuilderFlag, ITimingCache, ILogger), python/src/infer/pyGraph.cpp (INetworkDefinition, ILayer, ITensor),
python/src/infer/pyInt8.cpp (IInt8EntropyCalibrator2), python/src/infer/pyFoundationalTypes.cpp (DataType),
python/src/parsers/pyOnnx.cpp (OnnxParser, ParserError), and their docstrings under python/docstrings.
What a build logs when memory runs out is quoted from the issues NVIDIA/TensorRT#4258 (10.3) and HuangJunJie2017/BEVDet#132 (8.4).

What they do is a sketch: they parse ONNX with the onnx package, check what the documentation says is checked, and "build" bytes.
"""

# ruff: noqa: SIM905 (lists of names read better as text)
from __future__ import annotations

import enum
from types import SimpleNamespace
from typing import Any, Dict, List, Optional

import onnx

_CONFIG_85 = (
    "min_timing_iterations avg_timing_iterations int8_calibrator engine_capability max_workspace_size set_memory_pool_limit "
    "get_memory_pool_limit flags default_device_type DLA_core clear_flag set_flag get_flag quantization_flags "
    "clear_quantization_flag set_quantization_flag get_quantization_flag reset profile_stream add_optimization_profile "
    "set_calibration_profile get_calibration_profile num_optimization_profiles set_device_type get_device_type "
    "is_device_type_set reset_device_type can_run_on_DLA profiling_verbosity algorithm_selector set_tactic_sources "
    "get_tactic_sources create_timing_cache set_timing_cache get_timing_cache set_preview_feature get_preview_feature"
).split()
_CONFIG_10 = [
    *(name for name in _CONFIG_85 if name not in ("min_timing_iterations", "max_workspace_size")),
    *"builder_optimization_level hardware_compatibility_level runtime_platform plugins_to_serialize max_aux_streams".split(),
    "progress_monitor",
]
_GONE_IN_11 = (
    "int8_calibrator quantization_flags clear_quantization_flag set_quantization_flag get_quantization_flag algorithm_selector "
    "set_calibration_profile get_calibration_profile"
).split()
_CONFIG_11 = [
    *(name for name in _CONFIG_10 if name not in _GONE_IN_11),
    *"max_num_tactics tiling_optimization_level l2_limit_for_tiling build_route all_build_routes".split(),
]
_BUILDER_11 = (
    "create_network max_DLA_batch_size num_DLA_cores gpu_allocator create_optimization_profile error_recorder "
    "create_builder_config build_serialized_network is_network_supported logger max_threads reset"
).split()
_BUILDER_10 = [*_BUILDER_11, "platform_has_tf32", "platform_has_fast_fp16", "platform_has_fast_int8"]
_BUILDER_85 = [*_BUILDER_10, "max_batch_size", "build_engine"]
_FLAGS_85 = (
    "FP16 INT8 DEBUG GPU_FALLBACK STRICT_TYPES REFIT DISABLE_TIMING_CACHE TF32 SPARSE_WEIGHTS SAFETY_SCOPE DIRECT_IO".split()
)
_FLAGS_10 = (
    "FP16 BF16 INT8 DEBUG GPU_FALLBACK REFIT DISABLE_TIMING_CACHE TF32 DIRECT_IO VERSION_COMPATIBLE FP8 STRIP_PLAN".split()
)
_FLAGS_11 = (
    "DEBUG GPU_FALLBACK REFIT DISABLE_TIMING_CACHE EDITABLE_TIMING_CACHE TF32 DIRECT_IO VERSION_COMPATIBLE STRIP_PLAN".split()
)
_SURFACES: Dict[str, Dict[str, Any]] = {
    "8.5.3": {
        "config": _CONFIG_85, "builder": _BUILDER_85, "flags": _FLAGS_85, "error": ["node", "desc", "code"],
        "creation": {"EXPLICIT_BATCH": 0, "EXPLICIT_PRECISION": 1},
    },
    "10.3.0": {
        "config": _CONFIG_10, "builder": _BUILDER_10, "flags": _FLAGS_10,
        "error": ["node", "desc", "code", "node_name", "node_operator"],
        "creation": {"EXPLICIT_BATCH": 0, "STRONGLY_TYPED": 1},
    },
    "11.1.0": {
        "config": _CONFIG_11, "builder": _BUILDER_11, "flags": _FLAGS_11,
        "error": ["node", "desc", "code", "node_name", "node_operator"],
        "creation": {"STRONGLY_TYPED": 0, "PREFER_JIT_PYTHON_PLUGINS": 1, "PREFER_AOT_PYTHON_PLUGINS": 2},
    },
}  # fmt: skip
VERSIONS = tuple(_SURFACES)
_KINDS = {
    "Conv": "CONVOLUTION", "Relu": "ACTIVATION", "Add": "ELEMENTWISE", "GlobalAveragePool": "REDUCE", "AveragePool": "POOLING",
    "Flatten": "SHUFFLE", "Gemm": "MATRIX_MULTIPLY", "Cast": "CAST", "QuantizeLinear": "QUANTIZE",
    "DequantizeLinear": "DEQUANTIZE", "Transpose": "SHUFFLE", "Div": "ELEMENTWISE", "Constant": "CONSTANT",
}  # fmt: skip
_OUT_OF_MEMORY = (
    "[virtualMemoryBuffer.cpp::resizePhysical::144] Error Code 2: OutOfMemory (no further information)",
    "IBuilder::buildSerializedNetwork: Error Code 10: Internal Error (Could not find any implementation for node /stem/Conv.)",
)


class _Surface:
    """Like a pybind11 class: has what was declared, and takes no other attribute."""

    def __setattr__(self, name: str, value: Any) -> None:
        if not name.startswith("_") and not hasattr(type(self), name):
            raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")
        object.__setattr__(self, name, value)


def _offer(base: type, names: List[str]) -> type:
    """A class with exactly these public attributes, those that ``base`` implements working, the others None."""
    members = {name: getattr(base, "_do_" + name, None) for name in names}
    return type(base.__name__.lstrip("_"), (base,), members)


def _members(name: str, values: List[str]) -> Any:
    return enum.IntEnum(name, {value: index for index, value in enumerate(values)})


def fake(version: str, *, device: str = "Xavier", dla_cores: int = 0, memory_mb: int = 1 << 20, gpu_layers: Any = ()) -> Any:
    """A module-like TensorRT.

    Args:
        version: one of `VERSIONS`.
        device: that timing caches are of.
        dla_cores: of the machine.
        memory_mb: a workspace above it does not fit.
        gpu_layers: names of the layers that the DLA cannot run.

    Returns:
        The module; ``module.log`` collects what a test may look at: "configs", "cached" (layers found in the timing cache),
        "int8" (the platform has INT8; settable), "batches" (number of calibration batches taken).
    """
    surface = _SURFACES[version]
    module = SimpleNamespace(__version__=version)
    module.log = SimpleNamespace(configs=[], cached=[], int8=True, batches=0, networks=[])
    module.BuilderFlag = _members("BuilderFlag", surface["flags"])
    module.NetworkDefinitionCreationFlag = enum.IntEnum("NetworkDefinitionCreationFlag", surface["creation"])
    module.MemoryPoolType = _members("MemoryPoolType", ["WORKSPACE", "DLA_MANAGED_SRAM", "DLA_LOCAL_DRAM", "DLA_GLOBAL_DRAM"])
    module.DeviceType = _members("DeviceType", ["GPU", "DLA"])
    module.ProfilingVerbosity = _members("ProfilingVerbosity", ["LAYER_NAMES_ONLY", "NONE", "DETAILED"])
    module.DataType = _members("DataType", ["FLOAT", "HALF", "INT8", "INT32", "BOOL", "UINT8"])
    module.LayerType = _members("LayerType", sorted({*_KINDS.values()}))
    module.ILogger = _Logger
    typed = "FP16" not in surface["flags"]
    if not typed:
        module.IInt8EntropyCalibrator2 = _Calibrator

    class _IBuilderConfig(_Surface):
        def __init__(self) -> None:
            self._flags: set = set()
            self._pools: Dict[Any, int] = {}
            self._profiles: List[Any] = []
            self._cache: Any = None
            self.default_device_type = module.DeviceType.GPU
            module.log.configs.append(self)

        def _do_set_flag(self, flag: Any) -> None:
            assert isinstance(flag, module.BuilderFlag)
            self._flags.add(flag.name)

        def _do_set_memory_pool_limit(self, pool: Any, pool_size: int) -> None:
            self._pools[pool.name] = pool_size

        def _do_add_optimization_profile(self, profile: Any) -> int:
            self._profiles.append(profile)
            return len(self._profiles) - 1

        def _do_set_calibration_profile(self, profile: Any) -> bool:
            self._calibration_profile = profile
            return True

        def _do_can_run_on_DLA(self, layer: Any) -> bool:  # noqa: N802
            assert self.default_device_type == module.DeviceType.DLA
            assert self._flags & {"FP16", "INT8"} or typed
            return layer.name not in gpu_layers

        def _do_create_timing_cache(self, serialized_timing_cache: bytes) -> Any:
            return TimingCache(bytes(serialized_timing_cache), device)

        def _do_set_timing_cache(self, cache: Any, ignore_mismatch: bool) -> bool:
            self._cache = cache if cache.device == device or ignore_mismatch else None
            return self._cache is not None

        def _do_get_timing_cache(self) -> Any:
            return self._cache

    class _Builder(_Surface):
        def __init__(self, logger: Any) -> None:
            assert logger.initialised, "the bindings crash here: the logger's base was not initialised"
            self._log = logger
            self.num_DLA_cores, self.max_DLA_batch_size = dla_cores, 16
            if "platform_has_fast_int8" in surface["builder"]:
                self.platform_has_fast_int8 = module.log.int8

        def _do_create_network(self, flags: int = 0) -> Any:
            assert isinstance(flags, int)
            explicit = "EXPLICIT_BATCH" not in surface["creation"] or flags & 1 << int(
                module.NetworkDefinitionCreationFlag.EXPLICIT_BATCH
            )
            network = SimpleNamespace(
                explicit=bool(explicit) or version != "8.5.3", flags=flags, layers=[], inputs=[], outputs=[]
            )
            network.get_layer = lambda index: network.layers[index]
            network.get_input = lambda index: network.inputs[index]
            network.get_output = lambda index: network.outputs[index]
            module.log.networks.append(network)
            return network

        def _do_create_builder_config(self) -> Any:
            return module.IBuilderConfig()

        def _do_create_optimization_profile(self) -> Any:
            profile = SimpleNamespace(shapes={})
            profile.set_shape = lambda input, min, opt, max: profile.shapes.update({input: (min, opt, max)})
            return profile

        def _do_build_serialized_network(self, network: Any, config: Any) -> Optional[bytes]:
            trouble = _trouble(network, config, typed, memory_mb)
            calibrator = config.int8_calibrator if "INT8" in config._flags else None
            if trouble and calibrator is not None:
                calibrator.get_batch(["images"])  # memory may run out in the middle of a calibration
            for message in trouble:
                self._log.log(self._log.ERROR, message)
            if trouble:
                return None
            if calibrator is not None and not _calibrate(calibrator, module.log):
                self._log.log(self._log.ERROR, "Error Code 2: Internal Error (Calibration failure occurred)")
                return None
            layers = {layer.name for layer in network.layers}
            if config._cache is not None:
                module.log.cached = sorted(layers & config._cache.entries)
                config._cache.entries |= layers
            return f"plan of {version} {sorted(config._flags)}".encode()

    module.IBuilderConfig = _offer(_IBuilderConfig, surface["config"])
    module.Builder = _offer(_Builder, surface["builder"])
    module.OnnxParser = lambda network, logger: _Parser(network, logger, module, surface)
    return module


def _trouble(network: Any, config: Any, typed: bool, memory_mb: int) -> List[str]:
    """What a build logs before it gives up; nothing if it does not."""
    kinds = {layer.type.name for layer in network.layers}
    on_dla = int(config.default_device_type) == 1
    shapes = [config._profiles[0].shapes[source.name] for source in network.inputs] if config._profiles else []
    if any(-1 in source.shape for source in network.inputs) and not shapes:
        return [
            "Error Code 4: Internal Error (Network has dynamic or shape inputs, but no optimization profile has been defined.)"
        ]
    if not typed and "QUANTIZE" in kinds and "INT8" not in config._flags:
        return ["Error Code 4: Internal Error (Network has INT8 Q/DQ layers but the INT8 flag is not set)"]
    if typed and config._flags & {"FP16", "INT8"}:
        return ["Error Code 3: API Usage Error (precision flags with a strongly typed network)"]
    if on_dla and ("QUANTIZE" in kinds or any(shape[0] != shape[2] for shape in shapes)):
        return ["Error Code 9: Internal Error (DLA: Q/DQ or dynamic shapes)"]
    if "INT8" in config._flags and "QUANTIZE" not in kinds and config.int8_calibrator is None:
        return ["Error Code 4: Internal Error (INT8 without calibrator or dynamic ranges)"]
    return list(_OUT_OF_MEMORY) if config._pools["WORKSPACE"] > memory_mb << 20 else []


def _calibrate(calibrator: Any, log: Any) -> bool:
    """What TensorRT calls, in its order; the bindings turn an exception into "no batch"."""
    if calibrator.read_calibration_cache() is not None:
        return True
    assert calibrator.get_batch_size() >= 1
    taken = 0
    while calibrator.get_batch(["images"]) is not None:
        taken += 1
    log.batches += taken
    if taken:
        calibrator.write_calibration_cache(memoryview(b"ranges"))
    return taken > 0


class TimingCache:
    """ "device|layer,layer" on disk; bytes that are no cache give an empty one, as TensorRT-RTX 1.7 was seen to do."""

    def __init__(self, content: bytes, device: str) -> None:
        made_on, _, names = content.decode().partition("|")
        self.device = made_on if names else device
        self.entries = set(names.split(",")) if names else set()

    def serialize(self) -> bytes:
        return f"{self.device}|{','.join(sorted(self.entries))}".encode()

    def combine(self, input_cache: TimingCache, ignore_mismatch: bool) -> bool:
        if input_cache.device != self.device and not ignore_mismatch:
            return False
        self.entries |= input_cache.entries
        return True


class _Logger:
    INTERNAL_ERROR, ERROR, WARNING, INFO, VERBOSE = range(5)
    initialised = False

    def __init__(self) -> None:
        self.initialised = True


class _Calibrator:
    initialised = False

    def __init__(self) -> None:
        self.initialised = True


class _Parser:
    """Reads ONNX; 8.5 stops at the first node that it does not know, later ones list them all."""

    def __init__(self, network: Any, logger: Any, module: Any, surface: Dict[str, Any]) -> None:
        self._network, self._logger, self._module, self._surface = network, logger, module, surface
        self._errors: List[Any] = []

    @property
    def num_errors(self) -> int:
        return len(self._errors)

    def get_error(self, index: int) -> Any:
        return self._errors[index]

    def parse(self, model: bytes, path: Optional[str] = None) -> bool:
        assert self._network.explicit, "implicit batch networks are not parsed"
        try:
            graph = onnx.shape_inference.infer_shapes(onnx.load_model_from_string(model)).graph
        except Exception:
            self._fail(-1, "", "", "Assertion failed: Failed to parse the ONNX model.")
            return False
        types = {value.name: value.type.tensor_type for value in [*graph.input, *graph.value_info, *graph.output]}
        for index, node in enumerate(graph.node):
            if node.op_type not in _KINDS:
                self._fail(
                    index, node.name, node.op_type, "Plugin not found, are the plugin name, version, and namespace correct?"
                )
                if "node_name" not in self._surface["error"]:
                    break
                continue
            self._network.layers.append(self._layer(node, types))
        for mine, theirs in ((self._network.inputs, graph.input), (self._network.outputs, graph.output)):
            mine += [self._tensor(value.name, value.type.tensor_type) for value in theirs]
        for name in ("layers", "inputs", "outputs"):
            setattr(self._network, f"num_{name}", len(getattr(self._network, name)))
        return not self._errors

    def _layer(self, node: Any, types: Dict[str, Any]) -> Any:
        outputs = [self._tensor(name, types.get(name)) for name in node.output]
        return SimpleNamespace(
            name=node.name,
            type=self._module.LayerType[_KINDS[node.op_type]],
            num_outputs=len(outputs),
            get_output=lambda index: outputs[index],
        )

    def _tensor(self, name: str, kind: Any) -> Any:
        names = {1: "FLOAT", 2: "UINT8", 3: "INT8", 6: "INT32", 10: "HALF"}
        element = kind.elem_type if kind is not None else 1
        sizes = [size.dim_value if size.HasField("dim_value") else -1 for size in kind.shape.dim] if kind is not None else []
        return SimpleNamespace(name=name, shape=tuple(sizes), dtype=self._module.DataType[names.get(element, "FLOAT")])

    def _fail(self, index: int, name: str, operator: str, text: str) -> None:
        offers = {"node": index, "desc": text, "code": 6, "node_name": name, "node_operator": operator}
        self._errors.append(SimpleNamespace(**{key: (lambda value=offers[key]: value) for key in self._surface["error"]}))
