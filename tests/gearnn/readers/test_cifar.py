"""CIFAR in its binary and its Python layout, written byte by byte; and pickles that want more than arrays."""

from __future__ import annotations

import pickle
import struct

import numpy as np
import pytest

from gearnn.errors import UserError
from gearnn.readers import cifar


def batch(count, classes, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (count, 3072), dtype=np.uint8), rng.integers(0, classes, count)


def write_binary_10(path):
    parts = {}
    for number, name in enumerate(["data_batch_1", "data_batch_2", "test_batch"]):
        images, labels = batch(12, 10, number)
        (path / f"{name}.bin").write_bytes(b"".join(bytes([label]) + image.tobytes() for image, label in zip(images, labels)))
        parts[name] = images, labels
    return parts


def test_cifar10_binary(tmp_path):
    parts = write_binary_10(tmp_path)
    names = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "lorry"]
    (tmp_path / "batches.meta.txt").write_text("\n".join(names) + "\n\n")
    assert cifar.matches(tmp_path)
    source = cifar.read(tmp_path)
    assert source.name == "CIFAR-10"
    assert source.classes == tuple(names)
    expected = np.concatenate([parts["data_batch_1"][0], parts["data_batch_2"][0]]).reshape(-1, 3, 32, 32)
    np.testing.assert_array_equal(source.train.images, expected)
    np.testing.assert_array_equal(source.train.labels, np.concatenate([parts["data_batch_1"][1], parts["data_batch_2"][1]]))
    np.testing.assert_array_equal(source.test.labels, parts["test_batch"][1])
    assert source.train.labels.dtype == np.int64
    assert "2 of the 5" in source.notes[0]


def test_cifar10_names_without_the_listing(tmp_path):
    write_binary_10(tmp_path)
    assert cifar.read(tmp_path).classes[-1] == "truck"


def test_cifar100_binary_uses_the_fine_label(tmp_path):
    for name in ("train.bin", "test.bin"):
        images, fine = batch(8, 100)
        (tmp_path / name).write_bytes(
            b"".join(bytes([99 - label, label]) + image.tobytes() for image, label in zip(images, fine))
        )
    source = cifar.read(tmp_path)
    assert source.name == "CIFAR-100"
    np.testing.assert_array_equal(source.train.labels, fine)
    np.testing.assert_array_equal(source.test.images, images.reshape(-1, 3, 32, 32))
    assert source.classes == tuple(str(label) for label in range(100))


@pytest.mark.parametrize("damage", [lambda data: data[:-5], lambda data: b"", lambda data: b"\x0b" + data[1:]])
def test_malformed_binary(tmp_path, damage):
    write_binary_10(tmp_path)
    file = tmp_path / "data_batch_2.bin"
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(UserError, match=r"data_batch_2\.bin"):
        cifar.read(tmp_path)


def test_missing_test_batch(tmp_path):
    write_binary_10(tmp_path)
    (tmp_path / "test_batch.bin").unlink()
    with pytest.raises(UserError, match=r"no test_batch\.bin"):
        cifar.read(tmp_path)


def python2_pickle(images, labels):
    """A batch as Python 2 wrote the official ones: protocol 2, byte strings, numpy.core."""

    def text(value):
        return b"U" + bytes([len(value)]) + value  # SHORT_BINSTRING

    raw = images.tobytes()
    dtype = (
        b"cnumpy\ndtype\n"
        + text(b"u1")
        + b"K\x00K\x01\x87R"
        + b"(K\x03"
        + text(b"|")
        + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    )
    shape = b"M" + struct.pack("<H", images.shape[0]) + b"M" + struct.pack("<H", images.shape[1]) + b"\x86"
    array = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85" + text(b"b") + b"\x87R"
    array += b"(K\x01" + shape + dtype + b"\x89T" + struct.pack("<i", len(raw)) + raw + b"tb"
    listed = b"](" + b"".join(b"K" + bytes([label]) for label in labels) + b"e"
    return b"\x80\x02}(" + text(b"data") + array + text(b"labels") + listed + text(b"batch_label") + text(b"one") + b"u."


def python3_pickle(protocol):
    return lambda images, labels: pickle.dumps({b"data": images, b"labels": [int(label) for label in labels]}, protocol)


def old_and_new_names(rename):
    def dump(images, labels):
        content = pickle.dumps({"data": images, "labels": [int(label) for label in labels]}, 2)
        for old, new in (rename, rename[::-1]):
            if old in content:
                return content.replace(old, new)
        return content

    return dump


WRITERS = {
    "Python 2": python2_pickle,
    **{f"protocol {protocol}": python3_pickle(protocol) for protocol in range(pickle.HIGHEST_PROTOCOL + 1)},
    "the other NumPy": old_and_new_names((b"cnumpy.core.", b"cnumpy._core.")),
}


@pytest.mark.parametrize("writer", list(WRITERS))
def test_cifar10_python(tmp_path, writer):
    parts = {}
    for number, name in enumerate(["data_batch_1", "test_batch"]):
        parts[name] = batch(12, 10, number)
        (tmp_path / name).write_bytes(WRITERS[writer](*parts[name]))
    (tmp_path / "batches.meta").write_bytes(pickle.dumps({b"label_names": [f"class {label}".encode() for label in range(10)]}, 2))
    source = cifar.read(tmp_path)
    np.testing.assert_array_equal(source.train.images, parts["data_batch_1"][0].reshape(-1, 3, 32, 32))
    np.testing.assert_array_equal(source.train.labels, parts["data_batch_1"][1])
    np.testing.assert_array_equal(source.test.labels, parts["test_batch"][1])
    assert source.classes[3] == "class 3"
    assert source.train.images.flags.writeable


def test_python2_pickle_is_what_numpy_reads():
    images, labels = batch(12, 10)
    content = pickle.loads(python2_pickle(images, labels), encoding="bytes")  # our own bytes
    np.testing.assert_array_equal(content[b"data"], images)


def test_cifar100_python(tmp_path):
    for name in ("train", "test"):
        images, fine = batch(8, 100)
        content = {b"data": images, b"fine_labels": fine.tolist(), b"coarse_labels": [0] * 8}
        (tmp_path / name).write_bytes(pickle.dumps(content, 2))
    source = cifar.read(tmp_path)
    assert source.name == "CIFAR-100"
    np.testing.assert_array_equal(source.train.labels, fine)


def test_big_endian_and_fortran_arrays(tmp_path):
    values = np.arange(12, dtype=">i4").reshape(3, 4)
    for protocol in (2, pickle.HIGHEST_PROTOCOL):
        (tmp_path / "batch").write_bytes(pickle.dumps({"a": values, "b": np.asfortranarray(values)}, protocol))
        read = cifar.load_batch(tmp_path / "batch")
        np.testing.assert_array_equal(read["a"], values)
        np.testing.assert_array_equal(read["b"], values)


class Call:
    """A pickle that calls ``function(*arguments)`` when it is loaded."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_that_wants_to_run_something_is_refused(tmp_path, protocol):
    proof = tmp_path / "proof"
    write_python = {"data": Call(open, str(proof), "w"), "labels": [0]}
    content = pickle.dumps(write_python, protocol)
    pickle.loads(content)["data"].close()
    assert proof.exists()  # it would have worked
    proof.unlink()
    (tmp_path / "data_batch_1").write_bytes(content)
    (tmp_path / "test_batch").write_bytes(content)
    with pytest.raises(UserError, match=r"is refused: it asks for Python's 'i?o?(__builtin__)?.?open'"):
        cifar.read(tmp_path)
    assert not proof.exists()


REFUSED = {
    "os.system": b"cos\nsystem\n(S'true'\ntR.",
    "eval": b"cbuiltins\neval\n(S'1'\ntR.",
    "getattr": b"\x80\x04\x8c\x08builtins\x8c\x07getattr\x93.",
    "dotted name": b"\x80\x04\x8c\x0bnumpy._core\x8c\x21multiarray._reconstruct.__class__\x93.",
    "numpy.load": b"cnumpy\nload\n(S'x'\ntR.",
    "inst": b"(S'true'\nios\nsystem\n.",
    "object arrays": b"cnumpy\ndtype\n(S'O'\ntR.",
    "codec": b"c_codecs\nencode\n(Vtext\nVrot13\ntR.",
}


@pytest.mark.parametrize("name", list(REFUSED))
def test_every_other_name_is_refused(tmp_path, name):
    (tmp_path / "batch").write_bytes(REFUSED[name])
    with pytest.raises(UserError, match="is refused"):
        cifar.load_batch(tmp_path / "batch")


@pytest.mark.parametrize(
    "content",
    [b"", b"not a pickle", b"\x80\x02}", pickle.dumps([1, 2]), pickle.dumps({"labels": [1]}), b"cnumpy\nndarray\n(I10\ntR."],
)
def test_malformed_python(tmp_path, content):
    (tmp_path / "data_batch_1").write_bytes(content)
    (tmp_path / "test_batch").write_bytes(content)
    with pytest.raises(UserError, match="data_batch_1"):
        cifar.read(tmp_path)


@pytest.mark.parametrize(
    ("data", "labels"),
    [
        (np.zeros((2, 3072), np.float32), [0, 1]),
        (np.zeros((2, 3000), np.uint8), [0, 1]),
        (np.zeros((0, 3072), np.uint8), []),
        (np.zeros((2, 3072), np.uint8), [0]),
        (np.zeros((2, 3072), np.uint8), [0, 10]),
        (np.zeros((2, 3072), np.uint8), ["a", "b"]),
        (np.zeros((2, 3072), np.uint8), None),
        ("text", [0, 1]),
    ],
)
def test_python_batches_with_wrong_content(tmp_path, data, labels):
    for name in ("data_batch_1", "test_batch"):
        (tmp_path / name).write_bytes(pickle.dumps({"data": data, "labels": labels}, 2))
    with pytest.raises(UserError, match="data_batch_1"):
        cifar.read(tmp_path)


BOMBS = {
    "memo": b"\x80\x02}r\xff\xff\xff\xff.",
    "length": b"\x80\x04\x8e" + struct.pack("<Q", 2**40) + b"x.",
    "shared tuples": b"\x80\x02}K\1K\1\x86q\0" + b"".join(b"h%ch%c\x86q%c" % (n, n, n + 1) for n in range(60)) + b"K\1s.",
    "deep tuples": b"\x80\x02}K\1" + b"\x85" * 1_000_000 + b"K\1s.",
}


@pytest.mark.parametrize("name", list(BOMBS))
def test_bombs_are_not_set_off(tmp_path, name):
    (tmp_path / "batch").write_bytes(BOMBS[name])
    with pytest.raises(UserError, match="not a CIFAR batch"):
        cifar.load_batch(tmp_path / "batch")
