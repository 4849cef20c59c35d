"""Which reader a path goes to."""

from __future__ import annotations

import gzip
import os
import struct

import numpy as np
import pytest

from gearnn.errors import UserError
from gearnn.readers.detect import read_source


def flat(root):
    for name in ("cat", "dog"):
        (root / name).mkdir(parents=True)
        (root / name / "1.jpg").write_bytes(b"")


def idx(root):
    root.mkdir(parents=True)
    images, labels = np.arange(4 * 256, dtype=np.uint32).astype(np.uint8), bytes([0, 1, 0, 1])
    (root / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(struct.pack(">4I", 2051, 4, 16, 16) + images.tobytes()))
    (root / "train-labels-idx1-ubyte.gz").write_bytes(gzip.compress(struct.pack(">2I", 2049, 4) + labels))


def cifar(root):
    root.mkdir(parents=True)
    for name in ("data_batch_1.bin", "test_batch.bin"):
        (root / name).write_bytes(bytes([3]) + bytes(range(256)) * 12)


def tiny(root):
    (root / "train" / "n01" / "images").mkdir(parents=True)
    (root / "train" / "n01" / "images" / "a.JPEG").write_bytes(b"")
    (root / "val").mkdir()
    (root / "val" / "val_annotations.txt").write_text("v.JPEG\tn01\t0\n")


def npz(root):
    root.mkdir(parents=True)
    np.savez(root / "data.npz", x=np.zeros((2, 16, 16), np.uint8), y=[0, 1])


LAYOUTS = {"image folders": flat, "IDX files": idx, "CIFAR-10, binary": cifar, "Tiny ImageNet": tiny, "arrays": npz}


@pytest.mark.parametrize("layout", list(LAYOUTS))
@pytest.mark.parametrize("wrapper", ["", "unpacked", "unpacked/once more"])
def test_layouts_are_recognised_also_inside_a_folder(tmp_path, layout, wrapper):
    LAYOUTS[layout](tmp_path / "data" / wrapper)
    assert read_source(tmp_path / "data").description.startswith(layout)


def test_file(tmp_path):
    npz(tmp_path / "data")
    assert read_source(tmp_path / "data" / "data.npz").name == "data"


def test_home_is_expanded(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    flat(tmp_path / "data")
    assert read_source(type(tmp_path)("~/data")).classes == ("cat", "dog")


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda path: None, "There is nothing at"),
        (lambda path: path.mkdir(), "holds no data set"),
        (lambda path: (path / "a").mkdir(parents=True), "holds no data set"),
        (lambda path: path.write_text("x"), "is not a data set: give"),
    ],
)
def test_nothing_to_read(tmp_path, make, match):
    make(tmp_path / "data")
    with pytest.raises(UserError, match=match):
        read_source(tmp_path / "data")


def test_archive(tmp_path):
    (tmp_path / "data.tar.gz").write_bytes(b"x")
    with pytest.raises(UserError, match="unpack it"):
        read_source(tmp_path / "data.tar.gz")


def test_a_link_to_itself_does_not_hang(tmp_path):
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(UserError):
        read_source(tmp_path / "loop")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="the super-user may read everything")
def test_no_permission(tmp_path):
    flat(tmp_path / "data")
    (tmp_path / "data" / "cat").chmod(0)
    try:
        with pytest.raises(UserError, match="cannot be read"):
            read_source(tmp_path / "data")
    finally:
        (tmp_path / "data" / "cat").chmod(0o700)
