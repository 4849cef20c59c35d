"""In memory or streamed: the same pixels, and files that are whole or not there."""

from __future__ import annotations

import errno
import os
import shutil
from collections import namedtuple

import numpy as np
import pytest
from PIL import Image

from gearnn.errors import UserError
from gearnn.progress import no_progress
from gearnn.readers import store as module
from gearnn.readers.store import store


def noise(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


@pytest.fixture
def paths(tmp_path):
    (tmp_path / "images").mkdir()
    found = []
    for number in range(200):
        found.append(tmp_path / "images" / f"{number:04d}.png")
        Image.fromarray(noise(16, 16, 3, seed=number)).save(found[-1])
    return found


def in_memory(paths, size=None):
    return store([paths[:150], paths[150:]], size, 2048, None, no_progress)


def streamed(paths, cache, size=None, progress=no_progress):
    return store([paths[:150], paths[150:]], size, 0, cache, progress)


@pytest.mark.parametrize("size", [None, 24])
def test_streamed_equals_resident(paths, tmp_path, size):
    resident, mapped = in_memory(paths, size), streamed(paths, tmp_path / "cache", size)
    assert resident.streamed_from is None
    assert mapped.streamed_from.parent == tmp_path / "cache"
    assert resident.form == mapped.form
    for one, other in zip(resident.images, mapped.images):
        assert isinstance(other, np.memmap)
        assert not other.flags.writeable
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("bad", [[0], [149], [150], [199], [3, 4, 148, 149, 150, 198, 199], list(range(150)), list(range(200))])
def test_unreadable_files_leave_no_gap(paths, tmp_path, bad):
    expected = [in_memory(paths).images[0], in_memory(paths).images[1]]
    expected[0] = np.delete(expected[0], [row for row in bad if row < 150], axis=0)
    expected[1] = np.delete(expected[1], [row - 150 for row in bad if row >= 150], axis=0)
    for row in bad:
        paths[row].write_bytes(b"")
    size = 16  # with all headers unreadable there is no size to find
    for stored in (in_memory(paths, size), streamed(paths, tmp_path / "cache", size), streamed(paths, tmp_path / "cache", size)):
        assert [row for row, _ in stored.outcome.unreadable] == bad
        for one, other in zip(expected, stored.images):
            np.testing.assert_array_equal(one, other)


def test_the_file_is_reused_until_something_changes(paths, tmp_path):
    calls = []
    cache = tmp_path / "cache"

    def decoded():
        calls.clear()
        streamed(paths, cache, progress=lambda *call: calls.append(call))
        return bool(calls)

    assert decoded()
    assert not decoded()
    os.utime(paths[0], (1, 1))
    assert decoded()
    streamed(paths, cache, 20)
    assert len(list(cache.iterdir())) == 3
    assert not decoded()
    paths.pop()
    assert decoded()


def test_a_file_that_is_not_whole_is_written_again(paths, tmp_path):
    folder = streamed(paths, tmp_path / "cache").streamed_from
    with (folder / "images.u8").open("r+b") as file:
        file.truncate(100)
    np.testing.assert_array_equal(streamed(paths, tmp_path / "cache").images[0], in_memory(paths).images[0])
    (folder / "index.json").write_text("{")
    np.testing.assert_array_equal(streamed(paths, tmp_path / "cache").images[1], in_memory(paths).images[1])


def test_an_interrupted_decode_leaves_nothing_behind(paths, tmp_path):
    def stop(label, done, total):
        if done > 50:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        streamed(paths, tmp_path / "cache", progress=stop)
    assert list((tmp_path / "cache").iterdir()) == []


def test_what_a_power_cut_left_is_removed_a_day_later(paths, tmp_path):
    for name in ("a.partial-old", "a.partial-new"):
        (tmp_path / "cache" / name).mkdir(parents=True)
        (tmp_path / "cache" / name / "images.u8").write_bytes(b"x")
    for path in (tmp_path / "cache" / "a.partial-old" / "images.u8", tmp_path / "cache" / "a.partial-old"):
        os.utime(path, (1, 1))
    streamed(paths, tmp_path / "cache")
    left = [path.name for path in (tmp_path / "cache").glob("*.partial-*")]
    assert left == ["a.partial-new"]


def test_arrays_are_kept_resized_or_streamed(tmp_path):
    train, test = noise(30, 3, 32, 32), noise(10, 3, 32, 32, seed=1)
    kept = store([train, test], None, 2048, None, no_progress)
    assert kept.images[0] is train
    assert kept.form.native
    resized = store([train, test], 16, 2048, None, no_progress)
    assert [images.shape for images in resized.images] == [(30, 3, 16, 16), (10, 3, 16, 16)]
    assert abs(resized.images[1].mean() - test.mean()) < 2
    for _ in range(2):
        mapped = store([train, test], 16, 0, tmp_path, no_progress)
        np.testing.assert_array_equal(mapped.images[0], resized.images[0])
        np.testing.assert_array_equal(mapped.images[1], resized.images[1])
    assert len(list(tmp_path.iterdir())) == 1
    store([train[::-1], test], 16, 0, tmp_path, no_progress)
    assert len(list(tmp_path.iterdir())) == 2


def test_the_format_is_corrected_when_the_sample_misled(paths, tmp_path):
    for path in paths:
        Image.fromarray(noise(16, 16)).save(path)
    odd = next(path for row, path in enumerate(paths) if row not in np.linspace(0, 149, 64).astype(int))
    Image.fromarray(noise(40, 40, 3)).save(odd)
    for stored in (in_memory(paths), streamed(paths, tmp_path / "cache")):
        assert (stored.form.size, stored.form.channels) == (64, 3)
        assert stored.images[0].shape == (150, 3, 64, 64)
    assert len(list((tmp_path / "cache").iterdir())) == 1


def test_a_full_disk_is_told_before_writing(paths, tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**9, 10**9, 1000))
    with pytest.raises(UserError, match="MiB free"):
        streamed(paths, tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="the system reserves no blocks")
def test_a_disk_that_fills_up_while_writing(paths, tmp_path, monkeypatch):
    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module.os, "posix_fallocate", full)
    with pytest.raises(UserError, match=r"could not be written to .*cache \(No space left on device\): make room"):
        streamed(paths, tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_cache_folder_that_cannot_be_made(paths, tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match="cannot be written"):
        streamed(paths, tmp_path / "file" / "cache")


def test_default_place_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert module._cache_folder(None) == tmp_path / "gearnn"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert module._cache_folder(None) == tmp_path / ".cache" / "gearnn"
