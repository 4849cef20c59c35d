"""Timings are kept from build to build, merged, and never mixed between devices."""

from __future__ import annotations

import multiprocessing
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from gearnn.engine.timing_cache import _locked, attach, default_path, save


def _config(trt_fakes: ModuleType, device: str = "Xavier") -> Any:
    return trt_fakes.fake("8.5.3", device=device).IBuilderConfig()


def test_a_new_cache_is_written_and_found_again(trt_fakes: ModuleType, tmp_path: Path) -> None:
    path, remarks = tmp_path / "deep" / "t.cache", []  # type: Path, List[str]
    cache = attach(_config(trt_fakes), path, remarks.append)
    cache.entries.add("conv1")
    assert save(_config(trt_fakes), cache, path, remarks.append) == len(b"Xavier|conv1")
    assert attach(_config(trt_fakes), path, remarks.append).entries == {"conv1"}
    assert remarks == []


def test_what_others_wrote_meanwhile_is_kept(trt_fakes: ModuleType, tmp_path: Path) -> None:
    path, remarks = tmp_path / "t.cache", []  # type: Path, List[str]
    first, second = (attach(_config(trt_fakes), path, remarks.append) for _ in range(2))
    first.entries.add("conv1")
    second.entries.add("conv2")
    save(_config(trt_fakes), first, path, remarks.append)
    save(_config(trt_fakes), second, path, remarks.append)
    assert path.read_bytes() == b"Xavier|conv1,conv2"
    assert remarks == []


def test_another_devices_cache_is_ignored_and_left_alone(trt_fakes: ModuleType, tmp_path: Path) -> None:
    path, remarks = tmp_path / "t.cache", []  # type: Path, List[str]
    path.write_bytes(b"Orin|conv1")
    assert attach(_config(trt_fakes), path, remarks.append) is None
    assert len(remarks) == 1 and "another device or version and is ignored" in remarks[0]
    assert path.read_bytes() == b"Orin|conv1"


def test_a_folder_that_cannot_be_written_is_a_remark_not_a_failure(trt_fakes: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    path, remarks = tmp_path / "file" / "t.cache", []  # type: Path, List[str]
    cache = attach(_config(trt_fakes), path, remarks.append)
    assert save(_config(trt_fakes), cache, path, remarks.append) is None
    assert "was not kept" in remarks[-1]


def test_a_failed_write_leaves_the_old_cache_whole(
    trt_fakes: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, remarks = tmp_path / "t.cache", []  # type: Path, List[str]
    path.write_bytes(b"Xavier|conv1")
    cache = attach(_config(trt_fakes), path, remarks.append)
    cache.entries.add("conv2")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    assert save(_config(trt_fakes), cache, path, remarks.append) is None
    monkeypatch.undo()
    assert path.read_bytes() == b"Xavier|conv1"
    assert "No space left" in remarks[-1]
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["t.cache", "t.cache.lock"]


def _hold(path: Path, held: Any) -> None:
    with _locked(path):
        held.set()
        time.sleep(0.5)


def test_only_one_process_writes_at_a_time(tmp_path: Path) -> None:
    pytest.importorskip("fcntl", reason="files are locked on POSIX systems only")
    context = multiprocessing.get_context("fork")
    held = context.Event()
    other = context.Process(target=_hold, args=(tmp_path / "t.cache", held))
    other.start()
    assert held.wait(10)
    started = time.monotonic()
    with _locked(tmp_path / "t.cache"):
        waited = time.monotonic() - started
    other.join()
    assert waited > 0.2


def test_the_default_file_is_the_users_and_names_version_and_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    path = default_path("tensorrt", "8.5.2.2", "Xavier NX (GPU)")
    assert path == tmp_path / "gearnn" / "timing" / "tensorrt-8.5.2.2-Xavier-NX-GPU-.cache"
    assert path != default_path("tensorrt", "8.5.2.2", "Orin") != default_path("tensorrt", "10.3.0", "Orin")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert default_path("tensorrt", "8.5.2.2", None).parent == Path.home() / ".cache" / "gearnn" / "timing"


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tensorrt_rtx_takes_the_same_calls(tmp_path: Path) -> None:
    pytest.importorskip("tensorrt_rtx", reason="the flavour of TensorRT that works without a GPU is not installed")
    from gearnn.engine.tensorrt_api import find

    trt = find("tensorrt_rtx")
    logger = trt.logger()
    builder = trt.module.Builder(logger)
    config, path, remarks = builder.create_builder_config(), tmp_path / "t.cache", []  # type: Any, Path, List[str]
    cache = attach(config, path, remarks.append)
    written = save(config, cache, path, remarks.append)
    assert written == path.stat().st_size > 0
    again = builder.create_builder_config()
    assert save(again, attach(again, path, remarks.append), path, remarks.append)
    assert remarks == []
