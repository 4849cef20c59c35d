"""Where generated corruptions are kept."""

from __future__ import annotations

import os
from pathlib import Path
from typing import List, Sequence, Tuple

import numpy as np
import pytest

from gearnn.robustness import CorruptionCache, corruption_cache
from gearnn.robustness import cache as module
from gearnn.robustness.cache import Shelf, digest

SHAPE = (6, 3, 16, 16)
BYTES = 6 * 3 * 16 * 16
CELLS = [("fog", 1), ("fog", 2)]


def _images(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, SHAPE, dtype=np.uint8)


def _shelf(folder: Path, key: str = "k", cells: Sequence[Tuple[str, int]] = CELLS, limit: int = 10**6) -> Shelf:
    return Shelf(CorruptionCache(folder, limit), key * 64, SHAPE, cells)


def _put(shelf: Shelf, cell: Tuple[str, int], images: np.ndarray) -> None:
    writer = shelf.writer(*cell)
    writer.add(images[:4])
    writer.add(images[4:])
    writer.finish()


def _files(folder: Path) -> List[Path]:
    return sorted(path for path in folder.iterdir() if path.is_file())


def test_what_was_put_there_is_found_again(tmp_path: Path) -> None:
    shelf, images = _shelf(tmp_path), _images()
    assert shelf.open("fog", 1) is None
    _put(shelf, ("fog", 1), images)
    found = _shelf(tmp_path).open("fog", 1)
    assert isinstance(found, np.memmap)
    assert not found.flags.writeable
    np.testing.assert_array_equal(found, images)
    assert shelf.open("fog", 2) is None
    assert _shelf(tmp_path, key="j").open("fog", 1) is None
    assert len(_files(tmp_path)) == 1


def test_half_a_file_is_not_found_and_leaves_nothing(tmp_path: Path) -> None:
    shelf = _shelf(tmp_path)
    writer = shelf.writer("fog", 1)
    writer.add(_images()[:4])
    assert shelf.open("fog", 1) is None
    writer.discard()
    assert _files(tmp_path) == []


@pytest.mark.parametrize("damage", ["short", "flipped", "empty", "pickle", "checksum only"])
def test_damaged_files_are_not_found(tmp_path: Path, damage: str) -> None:
    shelf = _shelf(tmp_path)
    _put(shelf, ("fog", 1), _images())
    (path,) = _files(tmp_path)
    content = bytearray(path.read_bytes())
    if damage == "short":
        content = content[:-100]
    elif damage == "flipped":
        content[len(content) // 2] ^= 1
    elif damage == "empty":
        content = bytearray()
    elif damage == "checksum only":
        content = content[-4:]
    path.write_bytes(content)
    if damage == "pickle":
        np.save(path.with_suffix(".npy"), np.array([{"a": 1}] * 6, dtype=object), allow_pickle=True)
        os.replace(path.with_suffix(".npy"), path)  # noqa: PTH105
    assert shelf.open("fog", 1) is None
    _put(shelf, ("fog", 1), _images())
    assert shelf.open("fog", 1) is not None


def test_no_byte_may_change(tmp_path: Path) -> None:
    shelf = _shelf(tmp_path)
    _put(shelf, ("fog", 1), _images())
    (path,) = _files(tmp_path)
    content = path.read_bytes()
    for place in [*range(140), *range(len(content) - 8, len(content))]:
        path.write_bytes(content[:place] + bytes([content[place] ^ 0x20]) + content[place + 1 :])
        found = shelf.open("fog", 1)
        assert found is None or (found == _images()).all(), place  # spaces in the header may
    path.write_bytes(b"PK\x03\x04 no archive")
    assert shelf.open("fog", 1) is None


def test_another_shape_is_not_found(tmp_path: Path) -> None:
    _put(_shelf(tmp_path), ("fog", 1), _images())
    assert Shelf(CorruptionCache(tmp_path), "k" * 64, (3, 3, 16, 32), CELLS).open("fog", 1) is None


def test_the_least_recently_used_files_make_room(tmp_path: Path) -> None:
    limit = 4 * (BYTES + 256)
    first, second = _shelf(tmp_path, "a", limit=limit), _shelf(tmp_path, "b", limit=limit)
    for shelf in (first, second):
        for cell in CELLS:
            _put(shelf, cell, _images())
    for age, path in enumerate(_files(tmp_path)):  # a-1, a-2, b-1, b-2: from old to new
        os.utime(path, (age * 1000 + 10**9, age * 1000 + 10**9))
    assert first.open("fog", 1) is not None  # used: now it is the newest
    _shelf(tmp_path, "c", cells=[("snow", 3)], limit=limit)
    assert first.open("fog", 2) is None
    assert first.open("fog", 1) is not None
    assert second.open("fog", 1) is not None
    assert second.open("fog", 2) is not None


def test_what_is_asked_for_is_not_removed_to_make_room_for_itself(tmp_path: Path) -> None:
    limit = 3 * (BYTES + 256)
    old = _shelf(tmp_path, "a", limit=limit)
    _put(old, CELLS[0], _images())
    for path in _files(tmp_path):
        os.utime(path, (10**9, 10**9))
    other = _shelf(tmp_path, "b", limit=limit)
    for cell in CELLS:
        _put(other, cell, _images())
    again = _shelf(tmp_path, "a", limit=limit)  # one is there, one is missing: one of b has to go
    assert again.open(*CELLS[0]) is not None
    assert sum(other.open(*cell) is not None for cell in CELLS) == 1


def test_more_than_the_limit_is_not_kept_at_all(tmp_path: Path) -> None:
    with pytest.warns(RuntimeWarning, match="limit") as told:
        shelf = _shelf(tmp_path, limit=BYTES)
        for cell in CELLS:
            _put(shelf, cell, _images())
    assert len(told) == 1
    assert _files(tmp_path) == []


def test_a_disk_without_room_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 3 * BYTES})())
    with pytest.warns(RuntimeWarning, match="free"):
        shelf = _shelf(tmp_path)
    _put(shelf, CELLS[0], _images())
    assert _files(tmp_path) == []


def test_a_disk_that_fails_costs_one_warning_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shelf = _shelf(tmp_path)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module.np.lib.format, "write_array_header_1_0", full)
    with pytest.warns(RuntimeWarning, match="No space left") as told:
        for cell in CELLS:
            _put(shelf, cell, _images())
    assert len(told) == 1
    assert _files(tmp_path) == []


def test_a_folder_that_cannot_be_made_costs_one_warning_only(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.warns(RuntimeWarning, match="not kept") as told:
        shelf = _shelf(tmp_path / "file" / "cache")
        _put(shelf, CELLS[0], _images())
        assert shelf.open(*CELLS[0]) is None
    assert len(told) == 1


def test_what_a_power_cut_left_behind_is_removed(tmp_path: Path) -> None:
    old, young, others = tmp_path / ".partial-old", tmp_path / ".partial-young", tmp_path / "holiday.jpg"
    for path in (old, young, others):
        path.write_bytes(b"x" * 100)
    for path in (old, others):
        os.utime(path, (10**9, 10**9))
    _shelf(tmp_path, limit=2 * (BYTES + 256))
    assert _files(tmp_path) == sorted([young, others])


def test_the_digest_is_of_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    images = _images()
    changed = images.copy()
    changed[5, 2, 15, 15] ^= 1
    found = [digest(images, 0), digest(images, 1), digest(changed, 0), digest(images[::-1], 0), digest(images[:5], 0)]
    found.append(digest(images.reshape(6, 3, 8, 32), 0))
    monkeypatch.setattr(module, "code_version", lambda: "another")
    found.append(digest(images, 0))
    assert len(set(found)) == len(found)
    monkeypatch.undo()
    assert digest(images.copy(), 0) == found[0]


def test_the_version_follows_the_source_of_the_corruptions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("noise.py", "scores.py"):
        (tmp_path / name).write_text("before")
    monkeypatch.setattr(module, "__file__", str(tmp_path / "cache.py"))
    before = module.code_version()
    (tmp_path / "scores.py").write_text("after")
    assert module.code_version() == before
    (tmp_path / "noise.py").write_text("after")
    assert module.code_version() != before


def test_a_person_chooses_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("GEARNN_CORRUPTION_CACHE", raising=False)
    assert corruption_cache() == CorruptionCache(tmp_path / "gearnn" / "corruptions")
    monkeypatch.setenv("GEARNN_CORRUPTION_CACHE", str(tmp_path / "mine"))
    assert corruption_cache("auto", 5) == CorruptionCache(tmp_path / "mine", 5)
    assert corruption_cache(str(tmp_path / "other")) == CorruptionCache(tmp_path / "other")
    assert corruption_cache("off") is None
    monkeypatch.setenv("GEARNN_CORRUPTION_CACHE", "off")
    assert corruption_cache() is None
    assert not any(tmp_path.iterdir())  # made when first written to
