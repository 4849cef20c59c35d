"""Building engines: 8.5, 10 and 11 on stand-ins with their surfaces, TensorRT-RTX for real."""

from __future__ import annotations

import hashlib
import shlex
from pathlib import Path
from types import ModuleType
from typing import Any, Callable, Dict, List, Optional

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from gearnn.engine import cuda_driver, tensorrt_api
from gearnn.engine.build import build
from gearnn.engine.build_tensorrt import parse
from gearnn.engine.errors import EngineError
from gearnn.engine.manifest import check_manifest, manifest_path, read_manifest, sha256_of
from gearnn.engine.tensorrt_api import wrap

VERSIONS = ("8.5.3", "10.3.0", "11.1.0")


class FakeCopy:
    """Of arrays to a device that is not there."""

    copied = 0

    def __call__(self, array: np.ndarray) -> int:
        assert array.flags.c_contiguous
        FakeCopy.copied += len(array)
        return 4096

    def close(self) -> None:
        pass


@pytest.fixture()
def use(trt_fakes: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Any]:
    """``use("8.5.3", ...)`` makes that the TensorRT that is found, on a Xavier NX."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(cuda_driver, "gpu", lambda: ("Xavier", "7.2"))
    monkeypatch.setattr(cuda_driver, "DeviceCopy", FakeCopy)
    FakeCopy.copied = 0

    def choose(version: str, **facts: Any) -> Any:
        module = trt_fakes.fake(version, **facts)
        monkeypatch.setattr(tensorrt_api, "find", lambda flavour=None: wrap(module, "tensorrt"))
        return module

    return choose


def write(
    path: Path, *, batch: Any = "batch", size: Any = 16, quantized: bool = False, half: bool = False, unknown: int = 0
) -> Path:
    """A convolution, ReLU, pooling and a flattening, with Q/DQ nodes, in FP16, or with operators that do not exist."""
    weights = np.random.default_rng(0).normal(size=(8, 3, 3, 3)).astype(np.float16 if half else np.float32)
    constants = {"w": weights}
    nodes, source = [], "images"
    if half:
        nodes.append(helper.make_node("Cast", [source], ["half"], name="/cast", to=TensorProto.FLOAT16))
        source = "half"
    if quantized:
        constants.update(
            scale=np.float32(1 / 127), zero=np.int8(0), scales=np.full(8, 0.02, np.float32), zeros=np.zeros(8, np.int8),
            weights=np.clip(np.round(weights / 0.02), -127, 127).astype(np.int8),
        )  # fmt: skip
        del constants["w"]
        nodes += [
            helper.make_node("QuantizeLinear", [source, "scale", "zero"], ["q"], name="/q"),
            helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["dq"], name="/dq"),
            helper.make_node("DequantizeLinear", ["weights", "scales", "zeros"], ["w"], name="/w", axis=0),
        ]
        source = "dq"
    nodes += [
        helper.make_node("Conv", [source, "w"], ["c"], name="/stem/Conv", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["r"], name="/stem/Relu"),
        helper.make_node("GlobalAveragePool", ["r"], ["p"], name="/pool"),
    ]
    for index in range(unknown):
        nodes.append(helper.make_node("Frobnicate", ["p"], [f"f{index}"], name=f"/head/{index}/Frobnicate", domain="our.ops"))
    if half:
        nodes += [helper.make_node("Cast", ["p"], ["single"], name="/uncast", to=TensorProto.FLOAT)]
    nodes.append(helper.make_node("Flatten", ["single" if half else "p"], ["logits"], name="/flatten"))
    graph = helper.make_graph(
        nodes, "small",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [batch, 3, size, size])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [batch, 8])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13), helper.make_opsetid("our.ops", 1)], ir_version=8)
    helper.set_model_props(
        model, {"classes": '["a", "b"]', "calibration_sha256": "c0ffee"} if quantized else {"classes": '["a", "b"]'}
    )
    path.write_bytes(model.SerializeToString())
    return path


def refuse(onnx_path: Path, sentence: str, **options: Any) -> None:
    """Building is refused with this, in one line, and leaves nothing behind."""
    out = onnx_path.with_name("refused.engine")
    with pytest.raises(EngineError, match=sentence) as caught:
        build(onnx_path, out, **options)
    assert "\n" not in str(caught.value)
    assert [entry.name for entry in onnx_path.parent.iterdir() if "refused" in entry.name] == []


@pytest.mark.parametrize("version", VERSIONS)
def test_an_engine_and_its_manifest(version: str, use: Callable[..., Any], tmp_path: Path) -> None:
    module = use(version)
    model, out, steps, remarks = write(tmp_path / "m.onnx"), tmp_path / "made" / "m.engine", [], []  # type: Path, Path, List, List[str]
    manifest = build(
        model, out, batch=(1, 4, 8), workspace_mb=300, progress=lambda *step: steps.append(step), remark=remarks.append
    )
    assert out.read_bytes().startswith(f"plan of {version}".encode())
    assert read_manifest(out) == manifest
    assert (manifest.runtime, manifest.runtime_version, manifest.precision) == ("tensorrt", version, "fp32")
    assert (manifest.input_name, manifest.input_shape, manifest.input_dtype, manifest.layout) == (
        "images",
        (None, 3, 16, 16),
        "float32",
        "NCHW",
    )
    assert (manifest.output_name, manifest.output_shape, manifest.batch) == ("logits", (None, 8), (1, 4, 8))
    assert (manifest.gpu, manifest.compute_capability) == ("Xavier", "7.2")
    assert manifest.onnx_sha256 == sha256_of(model) and manifest.sha256 == hashlib.sha256(out.read_bytes()).hexdigest()
    assert manifest.metadata == {"classes": '["a", "b"]'} and manifest.ready is None
    config = module.log.configs[0]
    assert config._pools == {"WORKSPACE": 300 << 20} and config._flags == set()
    assert config._profiles[0].shapes == {"images": ((1, 3, 16, 16), (4, 3, 16, 16), (8, 3, 16, 16))}
    assert steps == [("parse", 0, 1), ("parse", 1, 1), ("build", 0, 1), ("build", 1, 1)]
    assert remarks == manifest.details["remarks"] and remarks[0].startswith("workspace 300 MiB")
    # EXPLICIT_BATCH where it exists, STRONGLY_TYPED in 11: each is bit 0 of its version's flags.
    assert module.log.networks[0].flags == 1
    check_manifest(out, manifest, runtime="tensorrt", runtime_version=version, compute_capability="7.2", gpu="Xavier")


def test_the_manifests_command_builds_the_same_again(use: Callable[..., Any], tmp_path: Path) -> None:
    use("10.3.0")
    model, out = write(tmp_path / "a model.onnx"), tmp_path / "m.engine"
    manifest = build(model, out, precision="fp16", workspace_mb=64, optimization_level=5, version_compatible=True)
    assert shlex.split(manifest.rebuild) == [
        "gearnn", "build", str(model), "--out", str(out), "--runtime", "tensorrt", "--precision", "fp16", "--batch", "1:1:32",
        "--workspace-mb", "64", "--optimization-level", "5", "--version-compatible",
    ]  # fmt: skip
    assert manifest.details["version_compatible"] is True
    check_manifest(out, manifest, runtime="tensorrt", runtime_version="10.9.0", compute_capability="7.2", gpu="Xavier")
    assert build(model, out, rebuild="make engine").rebuild == "make engine"


@pytest.mark.parametrize(
    ("version", "precision", "flags"),
    [("8.5.3", "fp32", set()), ("8.5.3", "fp16", {"FP16"}), ("10.3.0", "fp16", {"FP16"}), ("8.5.3", "int8", {"INT8", "FP16"}),
     ("10.3.0", "int8", {"INT8", "FP16"}), ("11.1.0", "fp16", set()), ("11.1.0", "int8", set())],
)  # fmt: skip
def test_precisions_are_flags_until_10_and_the_files_from_11_on(
    version: str, precision: str, flags: set, use: Callable[..., Any], tmp_path: Path
) -> None:
    module = use(version)
    typed = version == "11.1.0"
    model = write(tmp_path / "m.onnx", quantized=precision == "int8", half=typed and precision == "fp16")
    manifest = build(model, tmp_path / "m.engine", precision=precision)
    assert manifest.precision == precision and set(manifest.details["flags"]) == flags
    assert module.log.configs[0]._flags == flags
    assert manifest.details["strongly_typed"] is typed
    assert manifest.calibration_sha256 == ("c0ffee" if precision == "int8" else None)
    unused = build(model, tmp_path / "m.engine", precision=precision, calibration=[np.ones((1, 3, 16, 16), np.float32)])
    assert "calibration images are not needed" in unused.details["remarks"][1] and FakeCopy.copied == 0


@pytest.mark.parametrize(("version", "wide"), [("8.5.3", True), ("10.3.0", False), ("11.1.0", False)])
def test_tensorrt_8_gets_quantised_weights_as_floats_behind_q_dq(
    version: str, wide: bool, use: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parsed = []
    use(version)
    monkeypatch.setattr(
        "gearnn.engine.build.parse", lambda trt, content, *rest: parsed.append(content) or parse(trt, content, *rest)
    )
    build(write(tmp_path / "m.onnx", quantized=True), tmp_path / "m.engine")
    kinds = [node.op_type for node in onnx.load_model_from_string(parsed[0]).graph.node]
    assert (kinds.count("QuantizeLinear"), kinds.count("DequantizeLinear")) == ((2, 2) if wide else (1, 2))


@pytest.mark.parametrize(("what", "precision"), [({}, "fp32"), ({"half": True}, "fp16"), ({"quantized": True}, "int8")])
def test_auto_takes_the_files_own_precision(
    what: Dict[str, bool], precision: str, use: Callable[..., Any], tmp_path: Path
) -> None:
    for version in VERSIONS:
        use(version)
        assert build(write(tmp_path / "m.onnx", **what), tmp_path / "m.engine").precision == precision


def test_a_precision_the_file_cannot_give_is_refused(use: Callable[..., Any], tmp_path: Path) -> None:
    plain, quantized = write(tmp_path / "m.onnx"), write(tmp_path / "q.onnx", quantized=True)
    use("11.1.0")
    refuse(plain, "is in FP32, and tensorrt 11.1.0 takes the precision from the file.*model.fp16.onnx", precision="fp16")
    use("8.5.3")
    refuse(quantized, "is in INT8 already: build from the FP32 file", precision="fp16")
    refuse(plain, "no Q/DQ nodes, so INT8 needs calibration images.*--data.*model.int8.onnx", precision="int8")
    refuse(plain, "no precision 'fp8'", precision="fp8")
    use("8.5.3").log.int8 = False
    refuse(quantized, "this GPU has no INT8", precision="int8")


def test_options_of_later_versions_are_refused_on_8_5(use: Callable[..., Any], tmp_path: Path) -> None:
    model = write(tmp_path / "m.onnx")
    use("8.5.3")
    refuse(model, "8.5.3 has no optimization levels", optimization_level=3)
    refuse(model, "8.5.3 makes no version-compatible engines", version_compatible=True)
    refuse(model, "builds for the GPU it runs on only", compute_capability="8.6")
    module = use("10.3.0")
    refuse(model, "no optimization level 9", optimization_level=9)
    build(model, tmp_path / "m.engine", optimization_level=2, version_compatible=True)
    assert module.log.configs[-1].builder_optimization_level == 2 and "VERSION_COMPATIBLE" in module.log.configs[-1]._flags


def test_every_parser_error_is_named_with_its_node(use: Callable[..., Any], tmp_path: Path) -> None:
    model = write(tmp_path / "m.onnx", unknown=2)
    use("10.3.0")
    refuse(
        model, r"node 3 /head/0/Frobnicate \(Frobnicate\): Plugin not found.*; node 4 /head/1/Frobnicate \(Frobnicate\): Plugin"
    )
    use("8.5.3")  # gives the number only, the name comes from the file
    refuse(model, r"8.5.3 cannot read .*m.onnx: node 3 /head/0/Frobnicate \(Frobnicate\): Plugin not found")


def test_files_that_are_none(use: Callable[..., Any], tmp_path: Path) -> None:
    use("8.5.3")
    (tmp_path / "m.onnx").write_bytes(b"never was a network")
    refuse(tmp_path / "m.onnx", "is not an ONNX file")
    refuse(tmp_path / "gone.onnx", "cannot read .*gone.onnx .*No such file")
    model = write(tmp_path / "n.onnx")
    with pytest.raises(EngineError, match="no place for an engine"):
        build(model, model)
    assert onnx.load(str(model)).graph.name == "small"


def test_batches_and_shapes_are_checked_before_tensorrt_does(use: Callable[..., Any], tmp_path: Path) -> None:
    module = use("8.5.3")
    static, open_size = write(tmp_path / "s.onnx", batch=2), write(tmp_path / "o.onnx", size="side")
    refuse(static, "takes batches of 2 only, not 1:1:32.*open batch", batch=(1, 1, 32))
    refuse(open_size, r"input of shape \(any, 3, any, any\).*images of one size")
    refuse(static, "batch of 4:2:8 is not min:opt:max", batch=(4, 2, 8))
    assert module.log.configs == []
    manifest = build(static, tmp_path / "s.engine")
    assert (manifest.batch, manifest.input_shape, module.log.configs[0]._profiles) == ((2, 2, 2), (2, 3, 16, 16), [])
    assert build(write(tmp_path / "m.onnx"), tmp_path / "m.engine", batch=(4, 4, 4)).input_shape == (4, 3, 16, 16)


def test_out_of_memory_is_tried_once_more_at_half(use: Callable[..., Any], tmp_path: Path) -> None:
    model, remarks = write(tmp_path / "m.onnx"), []  # type: Path, List[str]
    use("8.5.3", memory_mb=300)
    manifest = build(model, tmp_path / "m.engine", workspace_mb=512, remark=remarks.append)
    assert manifest.details["workspace_mb"] == 256
    assert "once more with a workspace of 256 MiB" in remarks[-1]
    assert "--workspace-mb 512" in manifest.rebuild
    use("8.5.3", memory_mb=100)
    refuse(model, "ran out of memory twice, the second time with a workspace of 256 MiB", workspace_mb=512)


def test_the_timing_cache_is_on_by_default_and_serves_the_next_build(use: Callable[..., Any], tmp_path: Path) -> None:
    model = write(tmp_path / "m.onnx")
    module = use("8.5.3")
    manifest = build(model, tmp_path / "m.engine")
    path = Path(manifest.details["timing_cache"]["path"])
    assert path.name == "tensorrt-8.5.3-Xavier.cache"
    assert (
        path.parent == tmp_path / "cache" / "gearnn" / "timing"
        and path.stat().st_size == manifest.details["timing_cache"]["bytes"]
    )
    assert module.log.cached == []
    build(model, tmp_path / "m.engine")
    assert module.log.cached == ["/flatten", "/pool", "/stem/Conv", "/stem/Relu"]
    build(model, tmp_path / "n.engine", timing_cache=None)
    assert "timing_cache" not in read_manifest(tmp_path / "n.engine").details
    named = tmp_path / "named.cache"
    named.write_bytes(b"Orin|/pool")
    remarks: List[str] = []
    build(model, tmp_path / "n.engine", timing_cache=named, remark=remarks.append)
    assert "is of another device or version and is ignored" in remarks[-1] and named.read_bytes() == b"Orin|/pool"


@pytest.mark.parametrize("version", ["8.5.3", "10.3.0"])
def test_int8_by_calibration_from_a_plain_file(version: str, use: Callable[..., Any], tmp_path: Path) -> None:
    module = use(version, memory_mb=300)
    images = np.random.default_rng(1).random((11, 3, 16, 16), dtype=np.float32)
    manifest = build(
        write(tmp_path / "m.onnx"), tmp_path / "m.engine", precision="int8", batch=(1, 4, 8), workspace_mb=512,
        calibration=(image[None] for image in images),
    )  # fmt: skip
    # Batches of the best size, what is left over is dropped; one more was taken by the first try, which ran out of memory.
    assert module.log.batches == 2 and FakeCopy.copied == 4 + 8
    assert manifest.calibration_sha256 == hashlib.sha256(images[:8].tobytes()).hexdigest()
    assert manifest.rebuild.endswith("--data IMAGES") and manifest.details["workspace_mb"] == 256
    assert module.log.configs[0]._calibration_profile is module.log.configs[0]._profiles[0]


def test_calibration_images_that_do_not_fit_are_refused(use: Callable[..., Any], tmp_path: Path) -> None:
    use("8.5.3")
    model, few = write(tmp_path / "m.onnx"), np.zeros((3, 3, 16, 16), np.float32)
    refuse(model, "fewer calibration images than one batch of 4", precision="int8", batch=(4, 4, 4), calibration=[few])
    refuse(
        model,
        r"must be float32 \(any, 3, 16, 16\), got uint8 \(3, 3, 16, 16\)",
        precision="int8",
        calibration=[few.astype(np.uint8)],
    )


@pytest.mark.parametrize("version", ["8.5.3", "10.3.0"])
def test_dla_names_what_it_leaves_to_the_gpu(version: str, use: Callable[..., Any], tmp_path: Path) -> None:
    module, remarks = use(version, dla_cores=2, gpu_layers=("/pool", "/flatten")), []  # type: Any, List[str]
    model = write(tmp_path / "m.onnx")
    manifest = build(model, tmp_path / "m.engine", precision="fp16", dla_core=1, remark=remarks.append)
    assert manifest.details["dla"] == {"core": 1, "layers": 4, "gpu_layers": ["/pool", "/flatten"]}
    assert "2 of 4 layers run on the GPU, not on DLA core 1: /pool, /flatten" in remarks
    config = module.log.configs[0]
    assert (config.default_device_type, config.DLA_core) == (module.DeviceType.DLA, 1)
    assert config._flags == {"FP16", "GPU_FALLBACK"} and manifest.batch == (1, 1, 1)
    images = [np.random.default_rng(1).random((5, 3, 16, 16), dtype=np.float32)]
    assert build(model, tmp_path / "i.engine", precision="int8", dla_core=0, calibration=images).precision == "int8"
    assert module.log.batches == 5


def test_an_interrupted_write_leaves_the_old_engine_or_a_refused_one(
    use: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use("8.5.3")
    model, out = write(tmp_path / "m.onnx"), tmp_path / "m.engine"
    build(model, out)
    before = (out.read_bytes(), manifest_path(out).read_bytes())

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("gearnn.engine.build.write_manifest", full)
    with pytest.raises(EngineError, match="No space left"):
        build(model, out, precision="fp16")
    assert (out.read_bytes(), manifest_path(out).read_bytes()) == before
    assert [entry.name for entry in tmp_path.iterdir() if entry.name.startswith(".")] == []


def test_without_a_gpu_tensorrt_says_where_to_build(
    use: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use("10.3.0")
    monkeypatch.setattr(cuda_driver, "gpu", lambda: None)
    refuse(write(tmp_path / "m.onnx"), "builds on the GPU an engine is for, and there is none here.*--compute-capability")


def rtx_options(capability: Optional[str] = "8.6") -> Dict[str, Any]:
    pytest.importorskip("tensorrt_rtx", reason="the flavour of TensorRT that works without a GPU is not installed")
    return {"runtime": "tensorrt_rtx", "compute_capability": capability}


@pytest.mark.parametrize("what", [{}, {"half": True}, {"quantized": True}, {"batch": 4}])
def test_rtx_builds_each_precision_ahead_of_time(what: Dict[str, Any], tmp_path: Path) -> None:
    out = tmp_path / "m.engine"
    manifest = build(write(tmp_path / "m.onnx", **what), out, **rtx_options())
    precision = "fp16" if "half" in what else "int8" if "quantized" in what else "fp32"
    assert (manifest.precision, manifest.compute_capability, manifest.gpu) == (precision, "8.6", None)
    assert manifest.batch == ((4, 4, 4) if "batch" in what else (1, 1, 32))
    assert out.stat().st_size > 10_000 and sha256_of(out) == manifest.sha256
    assert manifest.details["strongly_typed"] is True and manifest.details["flags"] == []
    assert read_manifest(out) == manifest


def test_rtx_builds_a_network_of_every_kind_of_layer_that_ours_have(onnx_file: Path, tmp_path: Path) -> None:
    manifest = build(onnx_file, tmp_path / "m.engine", batch=(1, 8, 16), **rtx_options(None))
    assert manifest.compute_capability is None  # for every GPU from 8.0 on
    assert manifest.output_shape == (None, 5) and '"a"' in manifest.metadata["classes"]


def test_rtx_builds_a_network_of_pixels(small_net: Any, tmp_path: Path) -> None:
    from gearnn.engine.export import export_onnx

    options = rtx_options()
    model = export_onnx(small_net, (3, 16, 16), tmp_path / "m.onnx", pixels=True)
    manifest = build(model, tmp_path / "m.engine", **options)
    assert (manifest.input_dtype, manifest.layout, manifest.input_shape) == ("uint8", "NHWC", (None, 16, 16, 3))


def test_rtx_refuses_in_sentences(tmp_path: Path) -> None:
    options, model = rtx_options(), write(tmp_path / "m.onnx")
    refuse(write(tmp_path / "u.onnx", unknown=2), r"node 3 /head/0/Frobnicate .*; node 4 /head/1/Frobnicate", **options)
    refuse(model, "takes the precision from the file: build from the INT8 file", precision="int8", **options)
    refuse(
        model,
        "cannot build for compute capability '7.2': choose from 7.5, 8.0, 8.6",
        runtime="tensorrt_rtx",
        compute_capability="7.2",
    )
    refuse(model, "no DLA that this TensorRT can use", dla_core=0, **options)
    refuse(model, "built no engine .*workspace.*: raise --workspace-mb", workspace_mb=1, **options)
