"""Corrupted images, batch by batch, on threads and from the cache."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any, List, Sequence, Tuple

import numpy as np
import pytest

from gearnn.errors import UserError
from gearnn.robustness import CorruptionCache, corrupt
from gearnn.robustness import generated as module
from gearnn.robustness.generated import Generated, in_order, slices

CELLS = [("gaussian_noise", 2), ("glass_blur", 1), ("spatter", 5)]


def _all(source: Generated, batch_size: int, cells: Sequence[Tuple[str, int]] = CELLS) -> List[np.ndarray]:
    found: dict = {}
    for batch in source.batches(cells, batch_size):
        rows = found.setdefault(batch.cell, [])
        assert batch.rows.start == sum(map(len, rows))
        rows.append(batch.images)
    assert list(found) == list(cells)
    return [np.concatenate(rows) for rows in found.values()]


def _labels(photos: np.ndarray) -> np.ndarray:
    return np.zeros(len(photos), np.int64)


@pytest.fixture()
def counted(monkeypatch: pytest.MonkeyPatch) -> List[Tuple[str, int]]:
    """What was really generated."""
    made: List[Tuple[str, int]] = []

    def count(images: np.ndarray, name: str, severity: int, **options: Any) -> np.ndarray:
        made.append((name, severity))
        return corrupt(images, name, severity, **options)

    monkeypatch.setattr(module, "corrupt", count)
    return made


def test_neither_batches_nor_workers_nor_the_cache_change_anything(photos: np.ndarray, tmp_path: Path) -> None:
    expected = [corrupt(photos, name, severity, seed=3) for name, severity in CELLS]
    cache = CorruptionCache(tmp_path)
    for options in ({}, {"workers": 3}, {"cache": cache, "workers": 2}, {"cache": cache}, {"cache": cache, "workers": 3}):
        for batch_size in (7, 100):
            found = _all(Generated(photos, _labels(photos), seed=3, **options), batch_size)
            for ours, theirs in zip(found, expected):
                np.testing.assert_array_equal(ours, theirs)


def test_the_second_time_nothing_is_generated(photos: np.ndarray, tmp_path: Path, counted: List[Tuple[str, int]]) -> None:
    cache = CorruptionCache(tmp_path)
    _all(Generated(photos, _labels(photos), cache=cache), 48)
    assert counted == CELLS
    _all(Generated(photos, _labels(photos), cache=cache), 48)
    assert counted == CELLS
    # The file is what is read: a changed one, its checksum put right, is seen.
    path = next(tmp_path.glob("*glass_blur-1*"))
    path.write_bytes(next(tmp_path.glob("*spatter-5*")).read_bytes())
    assert (_all(Generated(photos, _labels(photos), cache=cache), 48)[1] == corrupt(photos, "spatter", 5)).all()
    _all(Generated(photos, _labels(photos), cache=cache, seed=1), 48)
    _all(Generated(photos[::-1], _labels(photos), cache=cache), 48)
    assert counted == CELLS * 3
    assert len(list(tmp_path.iterdir())) == 9


def test_only_what_is_damaged_is_generated_anew(photos: np.ndarray, tmp_path: Path, counted: List[Tuple[str, int]]) -> None:
    cache = CorruptionCache(tmp_path)
    first = _all(Generated(photos, _labels(photos), cache=cache), 10)
    counted.clear()
    path = next(tmp_path.glob("*glass_blur-1*"))
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    second = _all(Generated(photos, _labels(photos), cache=cache), 48)
    assert counted == [("glass_blur", 1)]
    assert path.read_bytes() == whole
    np.testing.assert_array_equal(first, second)


def test_stopping_half_way_leaves_no_half_file(photos: np.ndarray, tmp_path: Path) -> None:
    batches = Generated(photos, _labels(photos), cache=CorruptionCache(tmp_path), workers=2).batches(CELLS, 10)
    for batch in batches:
        if batch.cell == CELLS[1]:
            break
    assert len(list(tmp_path.iterdir())) == 2
    batches.close()
    (kept,) = tmp_path.iterdir()
    assert "gaussian_noise-2" in kept.name


def test_a_full_disk_changes_nothing(photos: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(**_: object) -> None:
        raise OSError(28, "No space left on device")

    with pytest.warns(RuntimeWarning, match="No space left") as told, monkeypatch.context() as patched:
        patched.setattr("gearnn.robustness.cache.tempfile.mkstemp", full)
        found = _all(Generated(photos, _labels(photos), cache=CorruptionCache(tmp_path)), 10)
    assert len(told) == 1
    np.testing.assert_array_equal(found[1], corrupt(photos, "glass_blur", 1))


def test_workers_keep_the_order_and_do_not_run_far_ahead() -> None:
    taken, lock = [], threading.Lock()

    def tasks() -> Any:
        for number in range(50):
            with lock:
                taken.append(number)
            yield number

    for done, (task, result) in enumerate(in_order(lambda number: number**2, tasks(), 2)):
        assert (task, result) == (done, done**2)
        assert len(taken) <= done + 6
    assert len(taken) == 50


def test_an_error_on_a_thread_is_told() -> None:
    def fail(number: int) -> int:
        raise RuntimeError(f"number {number}")

    with pytest.raises(RuntimeError, match="number 0"):
        list(in_order(fail, range(5), 2))


def test_slices_cover_everything_once() -> None:
    assert [list(range(10))[rows] for rows in slices(10, 4)] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


def test_no_workers_are_an_error(photos: np.ndarray) -> None:
    with pytest.raises(UserError, match="at least 1 thread"):
        Generated(photos, _labels(photos), workers=0)
