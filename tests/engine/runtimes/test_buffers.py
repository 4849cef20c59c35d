"""Bytes to the device and back, through stand-ins for PyCUDA and torch."""

from __future__ import annotations

import sys
import threading
from types import ModuleType
from typing import Any, Callable, List

import numpy as np
import pytest

from gearnn.engine.errors import EngineError
from gearnn.engine.runtimes.buffers import open_memory

BOTH = pytest.mark.parametrize("name", ["pycuda", "torch"])


@BOTH
def test_bytes_arrive_when_the_stream_was_waited_for(gpu: Any, buffers_by: Callable[[str], None], name: str) -> None:
    buffers_by(name)
    memory = open_memory()
    assert memory.name == name and memory.stream in gpu.streams
    with memory.active():
        buffer = memory.allocate(1000)
        buffer.host[:] = sent = np.random.default_rng(0).integers(0, 255, 1000, dtype=np.uint8)
        memory.upload(buffer, 700)
        assert gpu.view(buffer.address, 1000).min() == 255
        memory.synchronize()
        np.testing.assert_array_equal(gpu.view(buffer.address, 700), sent[:700])
        assert gpu.view(buffer.address + 700, 300).min() == 255
        gpu.view(buffer.address, 1000)[:] = sent[::-1]
        memory.download(buffer, 600)
        memory.synchronize()
        np.testing.assert_array_equal(buffer.host[:600], sent[::-1][:600])
        np.testing.assert_array_equal(buffer.host[700:], sent[700:])
        memory.free(buffer)
    assert not gpu.memory and buffer.host.size == 0


@BOTH
def test_time_between_marks_is_in_seconds(gpu: Any, buffers_by: Callable[[str], None], name: str) -> None:
    buffers_by(name)
    memory = open_memory()
    with memory.active():
        memory.allocate(8)
        start = memory.mark()
        gpu.queue(memory.stream, lambda: gpu.work(2.5))
        end = memory.mark()
        memory.synchronize()
        assert memory.seconds(start, end) == pytest.approx(0.0025)


@BOTH
def test_any_thread_may_use_it_in_its_turn(gpu: Any, buffers_by: Callable[[str], None], name: str) -> None:
    buffers_by(name)
    memory = open_memory()
    with memory.active():
        buffer = memory.allocate(16)
    failures: List[BaseException] = []

    def elsewhere() -> None:
        try:
            with memory.active():
                buffer.host[:] = 7
                memory.upload(buffer, 16)
                memory.synchronize()
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert not failures and gpu.view(buffer.address, 16).max() == 7


def test_torch_is_preferred_only_where_it_is_loaded_already(
    gpu: Any, fake_cuda: ModuleType, buffers_by: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    buffers_by("pycuda")
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    monkeypatch.setattr(sys, "path", [])  # so that an attempt to import torch would fail
    assert open_memory().name == "pycuda"
    assert "torch" not in sys.modules
    monkeypatch.setitem(sys.modules, "torch", fake_cuda.torch_module(gpu))
    assert open_memory().name == "torch"


def test_with_neither_package_both_reasons_are_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pycuda", None)
    torch: Any = ModuleType("torch")
    torch.cuda = ModuleType("torch.cuda")
    torch.cuda.is_available = lambda: False
    monkeypatch.setitem(sys.modules, "torch", torch)
    with pytest.raises(EngineError, match=r"torch: it finds no CUDA device; pycuda: .*pip install pycuda"):
        open_memory()
