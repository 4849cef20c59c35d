"""The CUDA driver's calls, on a stand-in for its library."""

from __future__ import annotations

import ctypes
from types import SimpleNamespace
from typing import Any, List

import numpy as np
import pytest

from gearnn.engine import cuda_driver
from gearnn.engine.errors import EngineError


class FakeDriver:
    """One Orin, whose memory is this process's; ``calls`` lists what was called."""

    def __init__(self, broken: str = "") -> None:
        self.calls: List[str] = []
        self.memory: Any = None
        self.broken = broken

    def __getattr__(self, name: str) -> Any:
        def call(*arguments: Any) -> int:
            self.calls.append(name)
            return 2 if name == self.broken else getattr(self, "_" + name, lambda *_: 0)(*arguments)

        if name.startswith("_"):
            raise AttributeError(name)
        return call

    def _cuDeviceGetName(self, name: Any, size: int, device: Any) -> int:  # noqa: N802
        name.value = b"Orin"
        return 0

    def _cuDeviceGetAttribute(self, number: Any, attribute: int, device: Any) -> int:  # noqa: N802
        number._obj.value = {75: 8, 76: 7}[attribute]
        return 0

    def _cuMemAlloc_v2(self, address: Any, size: Any) -> int:  # noqa: N802
        self.memory = ctypes.create_string_buffer(size.value)
        address._obj.value = ctypes.addressof(self.memory)
        return 0

    def _cuMemcpyHtoD_v2(self, address: Any, source: Any, size: Any) -> int:  # noqa: N802
        ctypes.memmove(address.value, source, size.value)
        return 0


def test_name_and_capability(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda_driver, "driver", FakeDriver)
    assert cuda_driver.gpu() == ("Orin", "8.7")
    monkeypatch.setattr(cuda_driver, "driver", lambda: FakeDriver("cuInit"))
    assert cuda_driver.gpu() is None
    monkeypatch.setattr(cuda_driver, "driver", lambda: None)
    assert cuda_driver.gpu() is None


def test_arrays_are_copied_into_one_buffer_that_grows(monkeypatch: pytest.MonkeyPatch) -> None:
    driver = FakeDriver()
    monkeypatch.setattr(cuda_driver, "driver", lambda: driver)
    copy = cuda_driver.DeviceCopy()
    for array in (np.arange(10, dtype=np.float32), np.arange(6, dtype=np.float32) * 3, np.arange(99, dtype=np.float32)):
        assert copy(array) == ctypes.addressof(driver.memory)
        assert driver.memory.raw[: array.nbytes] == array.tobytes()
    assert driver.calls.count("cuMemAlloc_v2") == 2 and driver.calls.count("cuMemFree_v2") == 1
    copy.close()
    copy.close()
    assert driver.calls.count("cuMemFree_v2") == 2 and driver.calls.count("cuDevicePrimaryCtxRelease_v2") == 1


def test_failures_are_sentences(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda_driver, "driver", lambda: FakeDriver("cuMemAlloc_v2"))
    with pytest.raises(EngineError, match="cuMemAlloc_v2 failed with error 2"):
        cuda_driver.DeviceCopy()(np.ones(3, np.float32))
    monkeypatch.setattr(cuda_driver, "driver", lambda: None)
    with pytest.raises(EngineError, match="no CUDA driver"):
        cuda_driver.DeviceCopy()


def test_a_missing_library_is_no_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> Any:
        raise OSError(name)

    monkeypatch.setattr(cuda_driver, "ctypes", SimpleNamespace(CDLL=absent))
    assert cuda_driver.driver() is None
