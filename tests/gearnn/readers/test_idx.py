"""IDX files, written byte by byte."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest

from gearnn.errors import UserError
from gearnn.readers import idx

DEBIAN = Path("/usr/share/datasets/fashion-mnist")


def idx_bytes(array):
    return struct.pack(">I", 0x0800 + array.ndim) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def write(folder, images, labels, prefix="train", compress=False, dot=False):
    for array, kind, dimensions in ((images, "images", 3), (labels, "labels", 1)):
        name = f"{prefix}-{kind}{'.' if dot else '-'}idx{dimensions}-ubyte"
        data = idx_bytes(array)
        (folder / (name + ".gz" if compress else name)).write_bytes(gzip.compress(data) if compress else data)


@pytest.fixture
def arrays():
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (20, 28, 28), dtype=np.uint8), (np.arange(20) % 10).astype(np.uint8)


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("dot", [False, True])
def test_train_and_test(tmp_path, arrays, compress, dot):
    images, labels = arrays
    write(tmp_path, images, labels, compress=compress, dot=dot)
    write(tmp_path, images[:10], labels[:10], "t10k", compress=compress, dot=dot)
    assert idx.matches(tmp_path)
    source = idx.read(tmp_path)
    np.testing.assert_array_equal(source.train.images, images[:, None])
    np.testing.assert_array_equal(source.train.labels, labels)
    assert source.train.images.flags.writeable
    assert source.train.labels.dtype == np.int64
    assert len(source.test) == 10
    assert source.classes == tuple("0123456789")
    assert source.name == "MNIST"


def test_fashion_by_its_path(tmp_path, arrays):
    folder = tmp_path / "Fashion-MNIST"
    folder.mkdir()
    write(folder, *arrays)
    source = idx.read(folder)
    assert source.classes[9] == "Ankle boot"
    assert source.test is None


@pytest.mark.parametrize("cut", [2, 10, 500])
def test_truncated(tmp_path, arrays, cut):
    write(tmp_path, *arrays)
    file = tmp_path / "train-images-idx3-ubyte"
    file.write_bytes(file.read_bytes()[:cut])
    with pytest.raises(UserError, match=r"truncated|does not hold"):
        idx.read(tmp_path)


def test_too_long(tmp_path, arrays):
    write(tmp_path, *arrays)
    file = tmp_path / "train-images-idx3-ubyte"
    file.write_bytes(file.read_bytes() + b"x")
    with pytest.raises(UserError, match="does not hold"):
        idx.read(tmp_path)


def test_wrong_magic(tmp_path, arrays):
    images, labels = arrays
    write(tmp_path, images, labels)
    (tmp_path / "train-images-idx3-ubyte").write_bytes(idx_bytes(labels))
    with pytest.raises(UserError, match="magic 2049"):
        idx.read(tmp_path)


def test_absurd_dimensions(tmp_path, arrays):
    write(tmp_path, *arrays)
    (tmp_path / "train-images-idx3-ubyte").write_bytes(struct.pack(">4I", 2051, *[2**32 - 1] * 3) + b"x")
    with pytest.raises(UserError, match=r"damaged|does not hold"):
        idx.read(tmp_path)


def test_damaged_gzip(tmp_path, arrays):
    write(tmp_path, *arrays, compress=True)
    file = tmp_path / "train-labels-idx1-ubyte.gz"
    file.write_bytes(file.read_bytes()[:-12])
    with pytest.raises(UserError, match="damaged"):
        idx.read(tmp_path)
    file.write_bytes(b"no gzip at all")
    with pytest.raises(UserError, match="damaged"):
        idx.read(tmp_path)


def test_labels_missing_or_of_another_number(tmp_path, arrays):
    images, labels = arrays
    write(tmp_path, images, labels[:-1])
    with pytest.raises(UserError, match=r"20 images but .* has 19 labels"):
        idx.read(tmp_path)
    (tmp_path / "train-labels-idx1-ubyte").unlink()
    with pytest.raises(UserError, match="no train-labels"):
        idx.read(tmp_path)


@pytest.mark.skipif(not DEBIAN.is_dir(), reason="Debian's package dataset-fashion-mnist is not installed")
def test_the_real_fashion_mnist():
    source = idx.read(DEBIAN)
    assert source.train.images.shape == (60_000, 1, 28, 28)
    assert source.test.images.shape == (10_000, 1, 28, 28)
    assert source.name == "Fashion-MNIST"
    assert np.bincount(source.train.labels).tolist() == [6_000] * 10
    assert [source.classes[label] for label in source.train.labels[:2]] == ["Ankle boot", "T-shirt/top"]
    assert abs(source.train.images.mean() / 255 - 0.2860) < 1e-4  # the published mean
