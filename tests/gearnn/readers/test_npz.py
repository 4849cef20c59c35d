"""``.npz`` files: the rule for axes, the labels, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from gearnn.errors import UserError
from gearnn.readers import npz


def noise(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def save(path, **arrays):
    np.savez(path / "data.npz", **arrays)
    return path / "data.npz"


Y = np.array([0, 1, 0, 1, 0, 1])


@pytest.mark.parametrize(
    ("shape", "axes"),
    [((6, 20, 24), None), ((6, 3, 20, 24), (0, 1, 2, 3)), ((6, 20, 24, 3), (0, 3, 1, 2)), ((6, 20, 24, 1), (0, 3, 1, 2))],
)
def test_layouts(tmp_path, shape, axes):
    x = noise(*shape)
    source = npz.read(save(tmp_path, x=x, y=Y))
    np.testing.assert_array_equal(source.train.images, x[:, None] if axes is None else x.transpose(axes))
    assert source.train.labels.tolist() == Y.tolist()
    assert source.test is None
    assert source.name == "data"


@pytest.mark.parametrize("shape", [(6, 3, 20, 3), (6, 20, 20, 4), (6, 20), (6, 1, 3, 20, 20), (0, 20, 20)])
def test_other_shapes_are_refused(tmp_path, shape):
    with pytest.raises(UserError, match="shape"):
        npz.read(save(tmp_path, x=noise(*shape), y=Y[: shape[0]]))


def test_test_set_and_class_names(tmp_path):
    file = save(
        tmp_path, x=noise(6, 20, 20), y=Y[:, None], x_test=noise(2, 20, 20), y_test=[1, 0], classes=np.array(["cat", "dog"])
    )
    source = npz.read(file)
    assert source.classes == ("cat", "dog")
    assert source.test.labels.tolist() == [1, 0]
    assert source.train.labels.tolist() == Y.tolist()


def test_keras_names(tmp_path):
    source = npz.read(save(tmp_path, x_train=noise(6, 20, 20), y_train=Y, x_test=noise(2, 20, 20), y_test=[1, 0]))
    assert len(source.train) == 6
    assert len(source.test) == 2


def test_labels_are_numbered_anew(tmp_path):
    source = npz.read(save(tmp_path, x=noise(6, 20, 20), y=[-1, 40, 7, 7, 40, -1]))
    assert source.classes == ("-1", "7", "40")
    assert source.train.labels.tolist() == [0, 2, 1, 1, 2, 0]


def test_small_integers_are_bytes_and_floats_are_not(tmp_path):
    x = noise(6, 20, 20)
    assert npz.read(save(tmp_path, x=x.astype(np.int32), y=Y)).train.images.dtype == np.uint8
    for bad in (x / 255, x.astype(np.int32) + 1, x.astype(np.int32) - 1):
        with pytest.raises(UserError, match="give uint8 from 0 to 255"):
            npz.read(save(tmp_path, x=bad, y=Y))


@pytest.mark.parametrize(
    ("arrays", "match"),
    [
        ({"x": noise(6, 20, 20)}, "no array 'y'"),
        ({"y": Y}, "no array 'x'"),
        ({"x": noise(6, 20, 20), "y": Y[:5]}, "6 images .* 5 labels"),
        ({"x": noise(6, 20, 20), "y": Y.astype(float)}, "one integer per image"),
        ({"x": noise(6, 20, 20), "y": np.eye(6, dtype=int)}, "one integer per image"),
        ({"x": noise(6, 20, 20), "y": Y, "x_test": noise(2, 20, 20)}, "no array 'y_test'"),
        ({"x": noise(6, 20, 20), "y": Y, "x_test": noise(2, 24, 24), "y_test": Y[:2]}, "differ in shape"),
        ({"x": noise(6, 20, 20), "y": Y, "classes": np.array(["cat"])}, "names only 1"),
        ({"x": noise(6, 20, 20), "y": Y, "classes": np.array(["cat", "cat"])}, "different strings"),
    ],
)
def test_malformed(tmp_path, arrays, match):
    with pytest.raises(UserError, match=match):
        npz.read(save(tmp_path, **arrays))


class Bomb:
    def __reduce__(self):
        return (pytest.fail, ("the pickle ran",))


def test_objects_are_never_unpickled(tmp_path):
    file = save(tmp_path, x=np.array([Bomb()] * 2, dtype=object), y=[0, 1])
    with pytest.raises(UserError, match="never unpickled"):
        npz.read(file)


@pytest.mark.parametrize("damage", [lambda data: data[: len(data) // 2], lambda data: b"nothing", lambda data: b""])
def test_damaged(tmp_path, damage):
    file = save(tmp_path, x=noise(6, 20, 20), y=Y)
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(UserError, match="cannot be read"):
        npz.read(file)


def test_folder_with_one_file(tmp_path):
    save(tmp_path, x=noise(6, 20, 20), y=Y)
    (tmp_path / "README.md").write_text("about")
    assert npz.matches(tmp_path)
    assert len(npz.read(tmp_path).train) == 6
    (tmp_path / "second.npz").write_bytes(b"")
    assert not npz.matches(tmp_path)


def test_a_header_that_announces_more_than_there_is(tmp_path):
    file = save(tmp_path, x=noise(6, 20, 20), y=Y)
    content = file.read_bytes()
    assert content.count(b"(6, 20, 20), }   ") == 1
    file.write_bytes(content.replace(b"(6, 20, 20), }   ", b"(600000,20,20),} "))
    with pytest.raises(UserError, match="damaged"):
        npz.read(file)


def test_more_than_the_memory_is_not_unpacked(tmp_path, monkeypatch):
    file = save(tmp_path, x=noise(6, 20, 20), y=Y)
    monkeypatch.setattr(npz, "_memory", lambda: 2000)
    with pytest.raises(UserError, match="more data than this machine's memory holds"):
        npz.read(file)
