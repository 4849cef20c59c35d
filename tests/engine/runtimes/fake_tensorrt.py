"""Stand-ins for the executing half of TensorRT 8.5, 10 and 11: they run a network on the bytes at the addresses they were given.

Sources, repository NVIDIA/TensorRT at the tags 8.5.3, v10.3.0 and v11.1: python/src/infer/pyCore.cpp (Runtime, ICudaEngine,
IExecutionContext, IProfiler: what each has, below) and python/docstrings/infer/pyCoreDoc.h (what each answers; that nothing
may touch the tensors' memory before the stream was waited for). That shapes must be settled by one execution before a capture,
and that a context must not change once a graph was captured from it, is NVIDIA's developer guide on CUDA graphs. What is logged
when an engine is refused is quoted from TensorRT 8.5 and from TensorRT-RTX 1.7.

An "engine" is a line of JSON and an ONNX file, which ONNX Runtime executes.
"""

# ruff: noqa: SIM905 (lists of names read better as text)
from __future__ import annotations

import json
import weakref
from typing import Any, Dict, List, Optional, Tuple

import numpy as np
import onnxruntime

_CONTEXT = (
    "debug_sync profiler engine name device_memory active_optimization_profile get_tensor_strides set_input_shape "
    "get_tensor_shape set_tensor_address get_tensor_address set_input_consumed_event get_input_consumed_event "
    "set_output_allocator get_output_allocator get_max_output_size temporary_allocator infer_shapes execute_v2 execute_async_v3 "
    "all_binding_shapes_specified set_optimization_profile_async error_recorder enqueue_emits_profile report_to_profiler "
    "persistent_cache_limit nvtx_verbosity"
).split()
_BINDINGS = (
    "execute execute_async execute_async_v2 get_strides set_binding_shape get_binding_shape set_shape_input get_shape".split()
)
_SINCE_10 = (
    "set_device_memory update_device_memory_size_for_shapes set_aux_streams set_debug_listener get_debug_listener "
    "set_tensor_debug_state get_debug_state set_all_tensors_debug_state"
).split()
_SINCE_11 = "unfused_tensors_debug_state set_communicator get_runtime_config".split()
_ENGINE = (
    "num_layers serialize create_execution_context refittable name num_optimization_profiles engine_capability num_io_tensors "
    "get_tensor_name get_tensor_mode is_shape_inference_io get_tensor_shape get_tensor_dtype get_tensor_location "
    "get_tensor_bytes_per_component get_tensor_components_per_element get_tensor_format get_tensor_format_desc "
    "get_tensor_vectorized_dim get_tensor_profile_shape error_recorder tactic_sources profiling_verbosity create_engine_inspector"
).split()
_RUNTIME = "deserialize_cuda_engine DLA_core num_DLA_cores gpu_allocator error_recorder logger max_threads".split()
_RUNTIME_10 = ("temporary_directory tempfile_control_flags get_plugin_registry load_runtime engine_host_code_allowed").split()
_SURFACES: Dict[str, Dict[str, List[str]]] = {
    "8.5.3": {"context": [*_CONTEXT, *_BINDINGS], "engine": _ENGINE, "runtime": _RUNTIME},
    "10.3.0": {"context": [*_CONTEXT, *_SINCE_10], "engine": _ENGINE, "runtime": [*_RUNTIME, *_RUNTIME_10]},
    "11.1.0": {
        "context": [*_CONTEXT, *_SINCE_10, *_SINCE_11],
        "engine": [*_ENGINE, "create_runtime_config"], "runtime": [*_RUNTIME, *_RUNTIME_10],
    },
}  # fmt: skip
_NUMPY = {"FLOAT": np.float32, "HALF": np.float16, "UINT8": np.uint8}
_FOREIGN = (
    "[runtime.cpp::parsePlan::314] Error Code 1: Serialization (Serialization assertion plan->header.magicTag == "
    "rt::kPLAN_MAGIC_TAG failed.)"
)
_OTHER_VERSION = (
    "6: The engine plan file is not compatible with this version of TensorRT, expecting library version {} got {}, "
    "please rebuild."
)


def plan(onnx: bytes, version: str, batch: Optional[Tuple[int, int, int]], **header: Any) -> bytes:
    """An engine's bytes.

    Args:
        onnx: the network.
        version: that built it.
        batch: smallest, best and largest; None where the file fixes it.
        header: "input", "output": DataType of the tensors, "FLOAT" by default; "host_code": needs permission;
            "sides": smallest and largest height and width; "twice": a second output; "scalar": an output without a batch.
    """
    return json.dumps({"version": version, "batch": batch, **header}).encode() + b"\n" + onnx


class _Surface:
    """Like a pybind11 class: has what was declared, and no other attribute can be read or set."""

    _offers: Tuple[str, ...] = ()

    def __getattribute__(self, name: str) -> Any:
        if not name.startswith("_") and name not in object.__getattribute__(self, "_offers"):
            raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")
        return object.__getattribute__(self, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if not name.startswith("_") and name not in self._offers:
            raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")
        object.__setattr__(self, name, value)


def add_runtime(module: Any, version: str, gpu: Any) -> Any:
    """Give a stand-in of TensorRT's building half the executing one.

    ``module.log``, further: "deserialized" (engines), "contexts" (that live), "executions", "rooms" (contexts that fit), "refuse"
    (executions are refused), "refuse_captures" (those that are recorded), "runtimes".
    """
    surface = _SURFACES[version]
    log = module.log
    log.deserialized, log.executions, log.rooms, log.runtimes = 0, 0, 99, []
    log.refuse, log.refuse_captures = False, False
    log.contexts = weakref.WeakSet()

    class TensorIOMode:
        NONE, INPUT, OUTPUT = "none", "input", "output"

    class IProfiler:
        ready = False

        def __init__(self) -> None:
            self.ready = True

    class IExecutionContext(_Surface):
        _offers = tuple(surface["context"])

        def __init__(self, engine: Any) -> None:
            self._engine, self._shape, self._addresses, self._settled, self._changes = engine, None, {}, None, 0
            self.profiler: Any = None
            log.contexts.add(self)

        def set_input_shape(self, name: str, shape: Tuple[int, ...]) -> bool:
            low, _, high = self._engine._profile
            if name != "images" or not all(a <= size <= b for a, size, b in zip(low, shape, high)) or len(shape) != len(low):
                return self._fail(f"IExecutionContext::setInputShape: Error Code 3: API Usage Error (shape {shape} of {name})")
            self._shape, self._changes = tuple(shape), self._changes + 1
            return True

        def get_tensor_shape(self, name: str) -> Tuple[int, ...]:
            shape = self._shape or self._engine.get_tensor_shape("images")
            return shape if name == "images" else self._engine._out_shape(shape[0])

        def set_tensor_address(self, name: str, memory: int) -> bool:
            assert isinstance(memory, int)
            self._addresses[name], self._changes = memory, self._changes + 1
            return name in ("images", "logits")

        def execute_async_v3(self, stream_handle: int) -> bool:
            assert self._engine._runtime._logger() is not None, "the logger is gone: the process would crash"
            shape = self._shape or self._engine.get_tensor_shape("images")
            if min(shape) < 0 or set(self._addresses) != {"images", "logits"} or stream_handle not in gpu.streams or log.refuse:
                return self._fail("IExecutionContext::enqueueV3: Error Code 3: API Usage Error (Parameter check failed)")
            if stream_handle in gpu.captures and (self._settled != shape or log.refuse_captures):
                return self._fail("Error Code 1: Cuda Runtime (operation not permitted when stream is capturing)")
            self._settled = shape
            addresses, changes, itself = dict(self._addresses), self._changes, weakref.ref(self)

            def work() -> None:
                context = itself()
                assert context is not None and context._changes == changes, "the context changed, or went, before it was executed"
                context._engine._execute(shape, addresses)

            gpu.queue(stream_handle, work)
            if self.profiler is not None:
                gpu.synchronize(stream_handle)
                assert self.profiler.ready, "the bindings crash here: the profiler's base was not initialised"
                slow = 10.0 if log.executions == 1 else 1.0
                for index, layer in enumerate(self._engine._layers):
                    self.profiler.report_layer_time(layer, slow * (index + 1) / 4)
            return True

        def _fail(self, message: str) -> bool:
            self._engine._log(message)
            return False

    class ICudaEngine(_Surface):
        _offers = tuple(surface["engine"])

        def __init__(self, runtime: Any, header: Dict[str, Any], content: bytes) -> None:
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = 1
            self._runtime, self._header = runtime, header
            self._session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
            _, *row = self._session.get_inputs()[0].shape
            low, best, high = header["batch"] or (self._session.get_inputs()[0].shape[0],) * 3
            self._profile = [(low, *row), (best, *row), (high, *row)]
            if "sides" in header:
                self._profile[0] = (low, row[0], header["sides"][0], header["sides"][0])
            self._layers = ["/stem/Conv + /stem/Relu", "/pool/GlobalAveragePool", "/classifier/Gemm"]
            self.num_io_tensors = 3 if header.get("twice") else 2

        def get_tensor_name(self, index: int) -> str:
            return ("logits", "images", "more")[index]

        def get_tensor_mode(self, name: str) -> str:
            return TensorIOMode.INPUT if name == "images" else TensorIOMode.OUTPUT

        def get_tensor_dtype(self, name: str) -> Any:
            return module.DataType[self._header.get("input" if name == "images" else "output", "FLOAT")]

        def get_tensor_shape(self, name: str) -> Tuple[int, ...]:
            open_batch = self._header["batch"] is not None
            shape = (-1 if open_batch else self._profile[0][0], *self._profile[0][1:])
            if "sides" in self._header:
                shape = (*shape[:2], -1, -1)
            return shape if name == "images" else self._out_shape(shape[0])

        def get_tensor_profile_shape(self, name: str, profile_index: int) -> List[Tuple[int, ...]]:
            assert (name, profile_index) == ("images", 0)
            return list(self._profile)

        def create_execution_context(self) -> Optional[Any]:
            if len(log.contexts) >= log.rooms:
                self._log("Error Code 1: Cuda Runtime (out of memory)")
                return None
            return IExecutionContext(self)

        def _out_shape(self, batch: int) -> Tuple[int, ...]:
            return (5,) if self._header.get("scalar") else (batch, 5)

        def _log(self, message: str) -> None:
            self._runtime._logger().log(module.ILogger.ERROR, message)

        def _execute(self, shape: Tuple[int, ...], addresses: Dict[str, int]) -> None:
            log.executions += 1
            gpu.work(shape[0])
            given, wanted = (_NUMPY[self._header.get(side, "FLOAT")] for side in ("input", "output"))
            count = int(np.prod(shape))
            images = gpu.view(addresses["images"], count * np.dtype(given).itemsize).view(given).reshape(shape)
            logits = self._session.run(None, {"images": images if given == np.uint8 else images.astype(np.float32)})[0]
            out = np.ascontiguousarray(logits.astype(wanted)).view(np.uint8).ravel()
            gpu.view(addresses["logits"], out.size)[:] = out

    class Runtime(_Surface):
        _offers = tuple(surface["runtime"])

        def __init__(self, logger: Any) -> None:
            assert logger.initialised, "the bindings crash here: the logger's base was not initialised"
            self._logger = weakref.ref(logger)
            self.DLA_core, self._host_code = -1, False
            if "engine_host_code_allowed" in self._offers:
                self.engine_host_code_allowed = False
            log.runtimes.append(self)

        def deserialize_cuda_engine(self, serialized_engine: bytes) -> Optional[Any]:
            line, _, content = bytes(serialized_engine).partition(b"\n")
            try:
                header = json.loads(line)
            except ValueError:
                return self._refuse(_FOREIGN)
            if header["version"] != version:
                return self._refuse(_OTHER_VERSION.format(version, header["version"]))
            if header.get("host_code") and not self.engine_host_code_allowed:
                return self._refuse("Error Code 4: API Usage Error (engine host code is not allowed)")
            log.deserialized += 1
            return ICudaEngine(self, header, content)

        def _refuse(self, message: str) -> None:
            self._logger().log(module.ILogger.ERROR, message)

    module.TensorIOMode, module.IProfiler, module.Runtime = TensorIOMode, IProfiler, Runtime
    return module
