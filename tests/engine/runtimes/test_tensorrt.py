"""TensorRT engines: loaded, run, timed and refused, on stand-ins for TensorRT 8.5, 10 and 11; and TensorRT-RTX as it is."""

from __future__ import annotations

import dataclasses
import gc
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gearnn.engine import cuda_driver
from gearnn.engine.build import build
from gearnn.engine.errors import EngineError
from gearnn.engine.export import export_onnx
from gearnn.engine.manifest import read_manifest, write_manifest
from gearnn.engine.runtimes import load_runtime
from gearnn.engine.runtimes.onnxruntime import OnnxRuntime
from gearnn.engine.runtimes.tensorrt import TensorRTRtxRuntime, TensorRTRuntime

VERSIONS = ("8.5.3", "10.3.0", "11.1.0")


@pytest.fixture()
def expected(onnx_file: Path, images: np.ndarray) -> np.ndarray:
    """Logits of ONNX Runtime, float32 (70, 5)."""
    with OnnxRuntime.load(onnx_file, 1) as runtime:
        return runtime.run(images)


@pytest.mark.parametrize("buffers", ["pycuda", "torch"])
@pytest.mark.parametrize("version", VERSIONS)
def test_runs_every_batch_as_onnx_runtime_does(
    engines: Any, onnx_file: Path, images: np.ndarray, expected: np.ndarray, version: str, buffers: str
) -> None:
    path = engines.install(version, buffers).write(onnx_file)
    with TensorRTRuntime.load(path) as runtime:
        assert (runtime.name, runtime.version, runtime.device, runtime.buffers) == ("tensorrt", version, "Orin", buffers)
        assert (runtime.input_shape, runtime.output_shape, runtime.batch) == ((None, 3, 16, 16), (None, 5), (1, 4, 8))
        assert (runtime.layout, runtime.input_dtype, runtime.threads) == ("NCHW", np.float32, 1)
        assert runtime.metadata == {"classes": '["a"]'}
        allocations = engines.gpu.allocations
        results = {}
        for count in (3, 8, 1, 1, 5, 8, 9, 70):  # up, down, the same again, and more than the largest
            results[count] = runtime.run(images[:count])
        for count, logits in results.items():
            assert logits.dtype == np.float32
            np.testing.assert_allclose(logits, expected[:count], atol=1e-5)
        reversed_rows = runtime.run(images[7::-1])
        np.testing.assert_allclose(reversed_rows, expected[7::-1], atol=1e-5)
        assert engines.gpu.allocations == allocations == 2
    assert not engines.gpu.memory


def test_pixels_go_in_as_they_are(engines: Any, small_net: Any, tmp_path: Path) -> None:
    onnx = export_onnx(small_net, (3, 16, 16), tmp_path / "pixels.onnx", pixels=True)
    path = engines.install().write(onnx, input="UINT8")
    pixels = np.random.default_rng(2).integers(0, 256, (11, 16, 16, 3), dtype=np.uint8)
    with OnnxRuntime.load(onnx, 1) as reference, TensorRTRuntime.load(path) as runtime:
        assert (runtime.layout, runtime.input_dtype, runtime.image_shape) == ("NHWC", np.uint8, (3, 16, 16))
        np.testing.assert_allclose(runtime.run(pixels), reference.run(pixels), atol=1e-5)
        with pytest.raises(EngineError, match="takes a NumPy array of uint8"):
            runtime.run(pixels.astype(np.float32))


@pytest.mark.parametrize("sides", [{"output": "HALF"}, {"input": "HALF", "output": "HALF"}])
def test_halves_come_and_go_as_floats(
    engines: Any, onnx_file: Path, images: np.ndarray, expected: np.ndarray, sides: Any
) -> None:
    with TensorRTRuntime.load(engines.install("10.3.0").write(onnx_file, **sides)) as runtime:
        logits = runtime.run(images[:9])
    assert logits.dtype == np.float32 and runtime.input_dtype == np.float32
    scale = np.abs(expected).max()
    np.testing.assert_allclose(logits, expected[:9], atol=4e-3 * scale)
    assert np.abs(logits - expected[:9]).max() > 0, "this was not computed in halves"


def test_batches_below_the_smallest_are_filled_up(
    engines: Any, onnx_file: Path, images: np.ndarray, expected: np.ndarray
) -> None:
    with TensorRTRuntime.load(engines.install().write(onnx_file, (4, 4, 8))) as runtime:
        for count in (1, 3, 9, 18):
            np.testing.assert_allclose(runtime.run(images[:count]), expected[:count], atol=1e-5)


def test_a_fixed_batch_is_the_only_one(engines: Any, small_net: Any, tmp_path: Path, images: np.ndarray) -> None:
    onnx = export_onnx(small_net, (3, 16, 16), tmp_path / "fixed.onnx", batch=4)
    with OnnxRuntime.load(onnx, 1) as reference, TensorRTRuntime.load(engines.install().write(onnx, None)) as runtime:
        assert runtime.input_shape == (4, 3, 16, 16) and runtime.output_shape == (4, 5)
        np.testing.assert_allclose(runtime.run(images[:4]), reference.run(images[:4]), atol=1e-5)
        for count in (3, 5, 8):
            with pytest.raises(EngineError, match="give 4 per call"):
                runtime.run(images[:count])


def test_wrong_images_are_refused_before_the_device_is_bothered(engines: Any, onnx_file: Path, images: np.ndarray) -> None:
    with TensorRTRuntime.load(engines.install().write(onnx_file)) as runtime:
        waits = engines.gpu.waits
        for call in (runtime.run, runtime.device_seconds, runtime.layer_times):
            with pytest.raises(EngineError, match="float32"):
                call(images.astype(np.float64))
            with pytest.raises(EngineError, match="channels"):
                call(images[:, :2])
            with pytest.raises(EngineError, match="at least one"):
                call(images[:0])
        assert engines.gpu.waits == waits


@pytest.mark.parametrize("buffers", ["pycuda", "torch"])
def test_threads_take_turns(engines: Any, onnx_file: Path, images: np.ndarray, expected: np.ndarray, buffers: str) -> None:
    parts = [slice(start, start + 1 + start % 9) for start in range(60)]
    with TensorRTRuntime.load(engines.install("8.5.3", buffers).write(onnx_file)) as runtime, ThreadPoolExecutor(4) as pool:
        for part, logits in zip(parts, pool.map(lambda part: runtime.run(images[part]), parts)):
            np.testing.assert_allclose(logits, expected[part], atol=1e-5)


@pytest.mark.parametrize("buffers", ["pycuda", "torch"])
def test_device_time_is_without_copies(engines: Any, onnx_file: Path, images: np.ndarray, buffers: str) -> None:
    with TensorRTRuntime.load(engines.install("10.3.0", buffers).write(onnx_file)) as runtime:
        assert runtime.device_seconds(images[:3]) == pytest.approx(0.003)  # the stand-in takes 1 ms an image, and 5 ms a copy
        assert runtime.device_seconds(images[:19]) == pytest.approx(0.019)


@pytest.mark.parametrize("version", VERSIONS)
def test_layers_are_timed_one_by_one(
    engines: Any, onnx_file: Path, images: np.ndarray, expected: np.ndarray, version: str
) -> None:
    with TensorRTRuntime.load(engines.install(version).write(onnx_file)) as runtime:
        layers = runtime.layer_times(images[:6], runs=3)  # the first execution is slower, and does not count
        assert layers == [
            ("/stem/Conv + /stem/Relu", pytest.approx(0.25)),
            ("/pool/GlobalAveragePool", pytest.approx(0.5)),
            ("/classifier/Gemm", pytest.approx(0.75)),
        ]
        assert engines.module.log.executions == 4
        assert len(engines.module.log.contexts) == 1  # the one that was profiled is gone
        np.testing.assert_allclose(runtime.run(images[:6]), expected[:6], atol=1e-5)
        for count, runs in ((9, 3), (2, 0)):
            with pytest.raises(EngineError, match="1 to 8 images"):
                runtime.layer_times(images[:count], runs)


def test_close_gives_all_back_and_may_come_twice(engines: Any, onnx_file: Path, images: np.ndarray) -> None:
    runtime = TensorRTRuntime.load(engines.install().write(onnx_file), cuda_graph=True)
    runtime.run(images[:2])
    runtime.close()
    runtime.close()
    assert not engines.gpu.memory and not engines.gpu.graphs and not list(engines.module.log.contexts)
    for call in (runtime.run, runtime.device_seconds, runtime.layer_times):
        with pytest.raises(EngineError, match="was closed: load it again"):
            call(images[:1])


def test_a_forgotten_runtime_gives_all_back(engines: Any, onnx_file: Path, images: np.ndarray) -> None:
    runtime = TensorRTRuntime.load(engines.install().write(onnx_file))
    runtime.run(images[:2])
    del runtime
    gc.collect()
    assert not engines.gpu.memory and not list(engines.module.log.contexts)
    TensorRTRuntime.__new__(TensorRTRuntime).__del__()  # one that was never loaded


@pytest.mark.parametrize("buffers", ["pycuda", "torch"])
def test_graphs_are_recorded_once_for_each_batch_and_launched(
    engines: Any, onnx_file: Path, images: np.ndarray, expected: np.ndarray, buffers: str
) -> None:
    path = engines.install("8.5.3", buffers).write(onnx_file, (1, 4, 16))
    with TensorRTRuntime.load(path, cuda_graph=True) as runtime:
        assert runtime.cuda_graph and len(engines.gpu.graphs) == 1  # of the best batch
        for count in (4, 4, 2, 7, 4, 2):
            np.testing.assert_allclose(runtime.run(images[:count]), expected[:count], atol=1e-5)
        assert len(engines.gpu.graphs) == 3 and engines.gpu.launches == 6
        for count in range(1, 17):
            np.testing.assert_allclose(runtime.run(images[:count]), expected[:count], atol=1e-5)
        assert len(engines.gpu.graphs) == 8  # no more are kept; the other batches run without
        assert runtime.device_seconds(images[:4]) == pytest.approx(0.004)
        assert runtime.layer_times(images[:4])


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ("cuStreamBeginCapture_v2", "cuStreamBeginCapture_v2 failed with error 900"),
        ("cuGraphInstantiateWithFlags", "cuGraphInstantiateWithFlags failed with error 900"),
        ("-cuGraphInstantiateWithFlags", "has no cuGraphInstantiateWithFlags.*CUDA 11.4"),
    ],
)
def test_graphs_that_cannot_be_had_are_refused_when_loading(
    engines: Any, onnx_file: Path, fake_cuda: Any, monkeypatch: pytest.MonkeyPatch, broken: str, message: str
) -> None:
    path = engines.install().write(onnx_file)
    monkeypatch.setattr(cuda_driver, "driver", lambda: fake_cuda.Driver(engines.gpu, broken))
    with pytest.raises(EngineError, match=message):
        TensorRTRuntime.load(path, cuda_graph=True)
    assert not engines.gpu.captures and not engines.gpu.graphs and not engines.gpu.memory


def test_an_engine_that_cannot_be_recorded_is_refused_when_loading(engines: Any, onnx_file: Path) -> None:
    path = engines.install().write(onnx_file)
    engines.module.log.refuse_captures = True
    with pytest.raises(EngineError, match="was not executed .*not permitted when stream is capturing"):
        TensorRTRuntime.load(path, cuda_graph=True)
    assert not engines.gpu.captures and not engines.gpu.graphs and not engines.gpu.memory


def test_engines_that_do_not_fit_the_manifest_never_reach_tensorrt(engines: Any, onnx_file: Path) -> None:
    engines.install("10.3.0")
    rebuild = "rebuild it here with: gearnn build net.onnx"
    for fields, message in (
        ({"runtime_version": "10.3.1"}, "built by tensorrt 10.3.1 .* here is tensorrt 10.3.0 .*the version differs, " + rebuild),
        (
            {"compute_capability": "7.2", "gpu": "Xavier"},
            "7.2, but here .*Orin of 8.7: the compute capability differs, " + rebuild,
        ),
        ({"gpu": "NVIDIA A10"}, "for NVIDIA A10 .*the GPU differs"),
        ({"sha256": "0" * 64}, "is not the file its manifest speaks of .*rebuild it with: gearnn build net.onnx"),
        ({"runtime": "tensorrt_rtx"}, "is for tensorrt_rtx, not for tensorrt: load it with runtime='tensorrt_rtx'"),
    ):
        with pytest.raises(EngineError, match=message):
            TensorRTRuntime.load(engines.write(onnx_file, fields=fields))
    path = engines.write(onnx_file)
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(EngineError, match="is not the file its manifest speaks of"):
        TensorRTRuntime.load(path)
    path.with_name(path.name + ".manifest.json").unlink()
    with pytest.raises(EngineError, match="has no manifest"):
        TensorRTRuntime.load(path)
    with pytest.raises(EngineError, match="there is no engine"):
        TensorRTRuntime.load(path.with_name("other.engine"))
    assert engines.module.log.deserialized == 0 and not engines.module.log.runtimes


def test_a_damaged_engine_is_told_of_even_where_tensorrt_is_missing(
    engines: Any, onnx_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = engines.install().write(onnx_file)
    monkeypatch.undo()
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(EngineError, match="tensorrt is not installed"):
        load_runtime(path)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(EngineError, match="is not the file its manifest speaks of"):
        load_runtime(path)


def test_what_tensorrt_refuses_is_told_in_its_words(engines: Any, onnx_file: Path) -> None:
    path = engines.install("8.5.3").write(onnx_file)
    engines.version = "8.5.2"
    with pytest.raises(
        EngineError, match=r"cannot load .*expecting library version 8.5.3 got 8.5.2.*rebuild it here with: gearnn"
    ):
        TensorRTRuntime.load(engines.write(onnx_file, fields={"runtime_version": "8.5.3"}))
    engines.install("8.5.3").module.log.rooms = 0
    with pytest.raises(EngineError, match=r"no room for its activations \(.*out of memory\)\): close other programs"):
        TensorRTRuntime.load(engines.write(onnx_file))
    engines.install("8.5.3")
    engines.gpu.capacity = 1000
    with pytest.raises(EngineError, match=r"cannot be loaded on Orin \(out of memory\)"):
        TensorRTRuntime.load(path)
    gc.collect()
    assert not engines.gpu.memory


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ({"twice": True}, r"outputs \['logits', 'more'\]: one input and one output"),
        ({"input": "INT8"}, "maps INT8 to FLOAT"),
        ({"output": "INT32"}, "maps FLOAT to INT32"),
        ({"sides": (8, 16)}, "build it for one image size"),
        ({"scalar": True}, r"output of shape \(5,\) for 8 images"),
    ],
)
def test_engines_of_another_form_are_refused(engines: Any, onnx_file: Path, header: Any, message: str) -> None:
    with pytest.raises(EngineError, match=message):
        TensorRTRuntime.load(engines.install("10.3.0").write(onnx_file, **header))


def test_failures_while_running_are_sentences_and_the_next_call_may_work(
    engines: Any, onnx_file: Path, images: np.ndarray, expected: np.ndarray
) -> None:
    with TensorRTRuntime.load(engines.install().write(onnx_file)) as runtime:
        engines.module.log.refuse = True
        with pytest.raises(EngineError, match=r"was not executed \(.*Parameter check failed\)"):
            runtime.run(images[:2])
        engines.module.log.refuse = False
        np.testing.assert_allclose(runtime.run(images[:3]), expected[:3], atol=1e-5)
        engines.gpu.broken = "an illegal memory access was encountered"
        with pytest.raises(EngineError, match=r"failed on images of shape \(2, 3, 16, 16\) \(an illegal memory access"):
            runtime.run(images[:2])
    engines.gpu.broken = ""
    with TensorRTRuntime.load(engines.install().write(onnx_file)) as runtime:
        engines.module.log.refuse = True
        with pytest.raises(EngineError, match="was not executed"):
            runtime.run(images[:2])  # its copy is on the way when the memory is to be freed
    assert not engines.gpu.memory


def test_version_compatible_engines_may_bring_code_and_dla_engines_get_their_core(engines: Any, onnx_file: Path) -> None:
    engines.install("10.3.0")
    fields = {"details": {"version_compatible": True, "dla": {"core": 1}}, "runtime_version": "10.9.0"}
    TensorRTRuntime.load(engines.write(onnx_file, fields=fields, host_code=True)).close()
    assert engines.module.log.runtimes[-1].DLA_core == 1
    TensorRTRuntime.load(engines.install("8.5.3").write(onnx_file, fields={"details": {"version_compatible": True}})).close()
    engines.install("10.3.0")
    with pytest.raises(EngineError, match="host code is not allowed"):
        TensorRTRuntime.load(engines.write(onnx_file, host_code=True))
    assert engines.module.log.runtimes[-1].DLA_core == -1


def test_without_a_device_the_reason_is_given(engines: Any, onnx_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = engines.install().write(onnx_file)
    monkeypatch.setattr(cuda_driver, "gpu", lambda: None)
    with pytest.raises(
        EngineError, match="needs a GPU of compute capability 8.7, and no CUDA device was found .the driver that is here"
    ):
        TensorRTRuntime.load(path)


@pytest.fixture()
def rtx_engine(onnx_file: Path, tmp_path: Path) -> Path:
    """Really built, ahead of time for compute capability 8.6."""
    pytest.importorskip("tensorrt_rtx", reason="the flavour of TensorRT that works without a GPU is not installed")
    build(onnx_file, tmp_path / "rtx.engine", runtime="tensorrt_rtx", batch=(1, 4, 8), compute_capability="8.6")
    return tmp_path / "rtx.engine"


@pytest.mark.skipif(cuda_driver.gpu() is not None, reason="there is a GPU")
def test_rtx_without_a_gpu_refuses_in_one_sentence_each(rtx_engine: Path) -> None:
    manifest = read_manifest(rtx_engine)
    with pytest.raises(
        EngineError, match="needs a GPU of compute capability 8.6, and no CUDA device was found .there is no driver"
    ):
        load_runtime(rtx_engine)
    write_manifest(rtx_engine, dataclasses.replace(manifest, runtime_version="1.0.0.1"))
    with pytest.raises(
        EngineError, match="built by tensorrt_rtx 1.0.0.1 .*the version differs, rebuild it here with: gearnn build"
    ):
        load_runtime(rtx_engine)
    write_manifest(rtx_engine, manifest)
    content = bytearray(rtx_engine.read_bytes())
    content[len(content) // 2] ^= 0x40
    rtx_engine.write_bytes(bytes(content))
    with pytest.raises(EngineError, match="is not the file its manifest speaks of"):
        load_runtime(rtx_engine)


@pytest.mark.skipif(cuda_driver.gpu() is not None, reason="there is a GPU")
def test_rtx_on_another_architecture_is_refused_and_on_its_own_told_why(
    rtx_engine: Path, buffers_by: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    buffers_by("pycuda")
    monkeypatch.setattr(cuda_driver, "gpu", lambda: ("NVIDIA GeForce RTX 4070", "8.9"))
    with pytest.raises(EngineError, match="compute capability 8.6, but here .*of 8.9: the compute capability differs"):
        TensorRTRtxRuntime.load(rtx_engine)
    monkeypatch.setattr(cuda_driver, "gpu", lambda: ("NVIDIA GeForce RTX 3080", "8.6"))
    with pytest.raises(EngineError, match="cannot load .*[Cc]uda.*rebuild it here with: gearnn build"):  # TensorRT's own words
        TensorRTRtxRuntime.load(rtx_engine)


@pytest.mark.gpu
@pytest.mark.parametrize("flavour", ["tensorrt", "tensorrt_rtx"])
@pytest.mark.parametrize("cuda_graph", [False, True])
def test_on_a_gpu_it_agrees_with_onnx_runtime(flavour, cuda_graph, onnx_file, images, tmp_path):
    """What no fake can tell: build here, run here, every batch size of the profile and beyond, several threads."""
    if cuda_driver.gpu() is None:
        pytest.skip("there is no CUDA device")
    pytest.importorskip(flavour, reason=f"{flavour} is not installed")
    engine = tmp_path / "small.engine"
    build(onnx_file, engine, runtime=flavour, batch=(1, 4, 16), timing_cache=tmp_path / "cache")
    kind = TensorRTRuntime if flavour == "tensorrt" else TensorRTRtxRuntime
    with kind.load(engine, cuda_graph=cuda_graph) as runtime, load_runtime(onnx_file, threads=1) as reference:
        for count in (1, 4, 16, 70):
            np.testing.assert_allclose(runtime.run(images[:count]), reference.run(images[:count]), atol=2e-2)
        assert runtime.device_seconds(images[:4]) > 0
        assert sum(taken for _, taken in runtime.layer_times(images[:4], 3)) > 0
