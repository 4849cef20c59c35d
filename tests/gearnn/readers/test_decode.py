"""One format for all images, found from a sample and corrected on the way."""

from __future__ import annotations

import os

import numpy as np
import pytest
from PIL import Image

from gearnn.progress import no_progress
from gearnn.readers.decode import Format, FormatChangedError, choose_format, decode


def noise(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


@pytest.fixture
def files(tmp_path):
    """Write PNG files of the given array shapes."""

    def write(*shapes):
        paths = []
        for number, shape in enumerate(shapes):
            paths.append(tmp_path / f"{number:04d}.png")
            Image.fromarray(noise(*shape, seed=number)).save(paths[-1])
        return paths

    return write


@pytest.mark.parametrize(
    ("shapes", "image_size", "expected"),
    [
        ([(32, 32, 3)] * 3, None, Format(32, 3, True)),
        ([(20, 20)] * 3, None, Format(20, 1, True)),
        ([(20, 20), (20, 20, 3)], None, Format(20, 3, True)),
        ([(20, 20), (24, 24)], None, Format(64, 1, False)),
        ([(20, 24)] * 2, None, Format(64, 1, False)),
        ([(12, 12)] * 2, None, Format(64, 1, False)),
        ([(225, 225)] * 2, None, Format(64, 1, False)),
        ([(32, 32, 3)] * 3, 48, Format(48, 3, False)),
    ],
)
def test_format_of_files_and_of_arrays(files, shapes, image_size, expected):
    form, workers = choose_format([files(*shapes)], image_size)
    assert form == expected
    assert workers >= 2
    if len(set(shapes)) == 1:
        array = noise(4, shapes[0][2] if len(shapes[0]) == 3 else 1, *shapes[0][:2])
        assert choose_format([array, array[:2]], image_size)[0] == expected


def test_large_images_get_more_threads(files, monkeypatch):
    monkeypatch.setattr("os.cpu_count", lambda: 6)
    assert choose_format([files((300, 300))], None)[1] == 6
    assert choose_format([files((30, 30))], None)[1] == 2


def test_rows_are_in_order_whatever_the_threads(files):
    paths = files(*[(16, 16, 3)] * 50)
    first = np.empty((50, 3, 16, 16), np.uint8)
    second = np.empty_like(first)
    decode(paths, Format(16, 3, True), first, no_progress, "reading", 1)
    decode(paths, Format(16, 3, True), second, no_progress, "reading", 5)
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(first[7], noise(16, 16, 3, seed=7).transpose(2, 0, 1))


def test_unreadable_rows_and_modes_are_told(files):
    paths = files((16, 16, 3), (16, 16), (16, 16, 4), (16, 16, 3))
    paths[0].write_bytes(b"")
    out = np.zeros((4, 3, 16, 16), np.uint8)
    outcome = decode(paths, Format(16, 3, True), out, no_progress, "reading", 2)
    assert outcome.unreadable == [(0, "empty file")]
    assert outcome.modes == {"L": 1, "RGBA": 1, "RGB": 1}
    assert not out[0].any()


@pytest.mark.parametrize(
    ("odd", "guess", "better"),
    [((16, 16, 3), Format(16, 1, True), Format(16, 3, True)), ((16, 18), Format(16, 1, True), Format(64, 1, False))],
)
def test_an_image_outside_the_sample_changes_the_format(files, odd, guess, better):
    paths = files(*[(16, 16)] * 9, odd)
    with pytest.raises(FormatChangedError) as change:
        decode(paths, guess, np.empty((10, 1, 16, 16), np.uint8), no_progress, "reading", 2)
    assert change.value.better == better


def test_progress_comes_about_once_per_percent_and_ends(files):
    calls = []
    array = noise(1000, 1, 16, 16)
    decode(array, Format(16, 1, False), np.empty_like(array), lambda *call: calls.append(call), "reading", 2)
    assert calls[0] == ("reading", 0, 1000)
    assert calls[-1] == ("reading", 1000, 1000)
    assert 90 <= len(calls) <= 110
    assert [done for _, done, _ in calls] == sorted(done for _, done, _ in calls)


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    paths = [tmp_path / "pipe.jpg", tmp_path / ("n" * 300 + ".jpg"), tmp_path / "zero\0.jpg"]
    outcome = decode(paths, Format(16, 3, True), np.zeros((3, 3, 16, 16), np.uint8), no_progress, "reading", 1)
    assert [row for row, _ in outcome.unreadable] == [0, 1, 2]
    assert outcome.unreadable[0][1] == "not a regular file"


def test_fewer_threads_where_images_are_huge(tmp_path, monkeypatch):
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    Image.new("1", (8000, 8000)).save(tmp_path / "huge.png")
    assert choose_format([[tmp_path / "huge.png"]], None)[1] == 2
