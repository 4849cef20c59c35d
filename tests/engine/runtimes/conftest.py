"""A stand-in GPU with TensorRT and what moves bytes to it, and engines for them."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, Callable, Iterator

import pytest

from gearnn.engine import cuda_driver, tensorrt_api
from gearnn.engine.manifest import Manifest, write_manifest


def _beside(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def fake_cuda() -> ModuleType:
    """The module of stand-ins beside this file."""
    return _beside("fake_cuda")


@pytest.fixture(scope="session")
def fake_tensorrt() -> ModuleType:
    """The module of stand-ins beside this file."""
    return _beside("fake_tensorrt")


@pytest.fixture()
def gpu(fake_cuda: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A device that the driver finds; no package that reaches it yet."""
    device = fake_cuda.Gpu()
    driver = fake_cuda.Driver(device)
    monkeypatch.setattr(cuda_driver, "driver", lambda: driver)
    return device


@pytest.fixture()
def buffers_by(gpu: Any, fake_cuda: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Make one package, "pycuda" or "torch", the one that reaches the device."""

    def choose(name: str) -> None:
        if name == "torch":
            monkeypatch.setitem(sys.modules, "torch", fake_cuda.torch_module(gpu))
            monkeypatch.setitem(sys.modules, "pycuda", None)
        else:
            package = ModuleType("pycuda")
            package.__spec__ = ModuleSpec("pycuda", None)
            monkeypatch.setitem(sys.modules, "pycuda", package)
            monkeypatch.setitem(sys.modules, "pycuda.driver", fake_cuda.pycuda_driver(gpu))

    return choose


@pytest.fixture()
def engines(
    gpu: Any,
    buffers_by: Callable[[str], None],
    trt_fakes: ModuleType,
    fake_tensorrt: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Any]:
    """``engines.write(onnx, ...)`` writes an engine with its manifest; ``install`` chooses TensorRT's version and the package.

    At the end, nothing may be left on the device.
    """
    bench = SimpleNamespace(gpu=gpu)

    def install(version: str = "8.5.3", buffers: str = "pycuda") -> Any:
        buffers_by(buffers)
        bench.version = version
        bench.module = fake_tensorrt.add_runtime(trt_fakes.fake(version), version, gpu)
        monkeypatch.setattr(tensorrt_api, "find", lambda flavour=None: tensorrt_api.wrap(bench.module, "tensorrt"))
        return bench

    def write(onnx: Path, batch: Any = (1, 4, 8), fields: Any = (), **header: Any) -> Path:
        engine = tmp_path / "net.engine"
        engine.write_bytes(fake_tensorrt.plan(onnx.read_bytes(), bench.version, batch, **header))
        values = {
            "file": engine.name, "sha256": hashlib.sha256(engine.read_bytes()).hexdigest(), "runtime": "tensorrt",
            "runtime_version": bench.version, "precision": "fp32", "input_name": "images", "input_shape": (None, 3, 16, 16),
            "input_dtype": "float32", "layout": "NCHW", "output_name": "logits", "output_shape": (None, 5), "batch": batch,
            "compute_capability": "8.7", "gpu": "Orin", "metadata": {"classes": '["a"]'}, "rebuild": "gearnn build net.onnx",
            **dict(fields),
        }  # fmt: skip
        write_manifest(engine, Manifest(**values))
        return engine

    bench.install, bench.write = install, write
    yield bench
    assert not any(gpu.streams.values()), "work was left on a stream"
