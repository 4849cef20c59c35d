"""The door to the data: splits, limits, checks, statistics, notes."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gearnn.data import check_batch_size, load_data, skipped_note
from gearnn.engine import images
from gearnn.errors import UserError

FASHION = Path("/usr/share/datasets/fashion-mnist")


@pytest.fixture(autouse=True)
def no_data_from_outside(monkeypatch, tmp_path):
    monkeypatch.delenv("GEARNN_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))


def noise(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def write(root, counts, shape=(16, 16, 3)):
    """Class folders with so many images each; the first pixel tells class and number."""
    for label, (name, count) in enumerate(counts.items()):
        (root / name).mkdir(parents=True)
        for number in range(count):
            pixels = noise(*shape, seed=1000 * len(root.name) + number)  # train and test differ
            pixels[0, 0] = label if len(shape) == 2 else (label, number, 0)
            Image.fromarray(pixels).save(root / name / f"{number:03d}.png")
    return root


def identities(split):
    """(class, number) of every image, read from its first pixel."""
    return [(int(image[0, 0, 0]), int(image[1, 0, 0])) for image in split.images]


@pytest.fixture
def folders(tmp_path):
    write(tmp_path / "data" / "train", {"ant": 30, "bee": 20, "cow": 10})
    write(tmp_path / "data" / "test", {"ant": 6, "bee": 4, "cow": 2})
    return tmp_path / "data"


def test_folders(folders):
    data = load_data(folders)
    assert (data.classes, data.num_classes, data.image_size, data.in_chans) == (("ant", "bee", "cow"), 3, 16, 3)
    assert data.train.images.shape == (60, 3, 16, 16)
    assert data.train.images.dtype == np.uint8
    assert data.train.labels.dtype == np.int64
    assert len(data.test) == 12
    for split in (data.train, data.test):
        assert [label for label, _ in identities(split)] == split.labels.tolist()
    assert data.notes == ()
    assert data.name == "data"
    assert str(folders) in data.source


def test_statistics_are_those_of_the_training_images(folders):
    data = load_data(folders)
    scaled = data.train.images / 255
    np.testing.assert_allclose(data.mean, scaled.mean((0, 2, 3)), rtol=1e-12)
    np.testing.assert_allclose(data.std, scaled.std((0, 2, 3)), rtol=1e-9)
    assert all(isinstance(value, float) for value in data.mean + data.std)


def test_one_colour_does_not_make_std_zero(tmp_path):
    x = np.full((4, 16, 16), 77, np.uint8)
    np.savez(tmp_path / "d.npz", x=x, y=[0, 1, 0, 1], x_test=x, y_test=[0, 1, 0, 1])
    data = load_data(tmp_path / "d.npz")
    assert data.std == (1 / 255,)
    assert data.mean[0] == pytest.approx(77 / 255)


def test_held_out_test_set_is_stratified_and_seeded(tmp_path):
    write(tmp_path / "flat", {"ant": 30, "bee": 10, "cow": 2})
    one, same, other = (load_data(tmp_path / "flat", seed=seed) for seed in (0, 0, 1))
    assert np.bincount(one.test.labels).tolist() == [6, 2, 1]
    assert np.bincount(one.train.labels).tolist() == [24, 8, 1]
    assert not set(identities(one.train)) & set(identities(one.test))
    np.testing.assert_array_equal(one.test.images, same.test.images)
    assert identities(one.test) != identities(other.test)
    assert any("9 of 42 images held out" in note for note in one.notes)


def test_test_fraction(tmp_path):
    write(tmp_path / "flat", {"ant": 10, "bee": 10})
    assert len(load_data(tmp_path / "flat", test_fraction=0.5).test) == 10
    assert len(load_data(tmp_path / "flat", test_fraction=0.999).train) == 2
    for fraction in (0, 1, -0.5):
        with pytest.raises(UserError, match="between 0 and 1"):
            load_data(tmp_path / "flat", test_fraction=fraction)


def test_limits_are_drawn_before_decoding(folders, monkeypatch):
    decoded = []
    read = images.read_image
    monkeypatch.setattr("gearnn.readers.decode.read_image", lambda path, *rest: decoded.append(path) or read(path, *rest))
    load_data(folders, limit_train=9, limit_test=3)
    assert len(decoded) == 12


def test_limits_keep_the_proportions(folders):
    one, same, other = (load_data(folders, limit_train=12, limit_test=6, seed=seed) for seed in (3, 3, 4))
    assert np.bincount(one.train.labels).tolist() == [6, 4, 2]
    assert np.bincount(one.test.labels).tolist() == [3, 2, 1]
    assert identities(one.train) == identities(same.train)
    assert identities(one.train) != identities(other.train)
    assert identities(one.train) == sorted(identities(one.train))
    assert sum(note.startswith("limit_") for note in one.notes) == 2


def test_limits_are_met_exactly_with_every_class(tmp_path):
    labels = np.repeat([0, 1, 2], [30, 20, 2])
    np.savez(tmp_path / "d.npz", x=noise(52, 16, 16), y=labels, x_test=noise(3, 16, 16), y_test=[0, 1, 2])
    for limit in range(3, 53):
        counts = np.bincount(load_data(tmp_path / "d.npz", limit_train=limit).train.labels, minlength=3)
        assert counts.sum() == limit
        assert 1 <= counts[2] <= counts[1] <= counts[0]
        assert counts[2] <= 2
        assert counts[1] <= 20
        assert abs(counts[0] - 1.5 * counts[1]) <= 2


def test_a_limit_above_the_size_changes_nothing(folders):
    assert identities(load_data(folders, limit_train=1000).train) == identities(load_data(folders).train)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"image_size": 15}, "give 16 to 224"),
        ({"image_size": 225}, "give 16 to 224"),
        ({"limit_train": 0}, "limit_train is 0"),
        ({"limit_test": -1}, "limit_test is -1"),
        ({"limit_train": 2}, "fewer than the 3 classes"),
        ({"limit_test": 2}, "fewer than the 3 classes"),
        ({"memory_limit_mb": -1}, "memory_limit_mb is -1"),
    ],
)
def test_options_out_of_range(folders, options, match):
    with pytest.raises(UserError, match=match):
        load_data(folders, **options)


@pytest.mark.parametrize("image_size", [16, 40, 224])
def test_image_size(folders, image_size):
    data = load_data(folders, image_size=image_size, limit_train=9, limit_test=3)
    assert data.image_size == image_size
    assert data.test.images.shape == (3, 3, image_size, image_size)


def test_images_of_many_sizes_become_64(tmp_path):
    write(tmp_path / "d" / "train", {"a": 3, "b": 3}, (80, 100, 3))
    write(tmp_path / "d" / "test", {"a": 2, "b": 2}, (30, 20))
    data = load_data(tmp_path / "d")
    assert (data.image_size, data.in_chans) == (64, 3)
    notes = " | ".join(data.notes)
    assert "resized to 64" in notes
    assert "converted to 8-bit RGB: 4 of mode L" in notes


def test_grey_folders_have_one_channel(tmp_path):
    write(tmp_path / "d", {"a": 5, "b": 5}, (20, 20))
    assert load_data(tmp_path / "d").train.images.shape == (8, 1, 20, 20)


def test_unreadable_files_are_skipped_and_named(tmp_path):
    write(tmp_path / "d" / "train", {"ant": 100, "bee": 100})
    write(tmp_path / "d" / "test", {"ant": 3, "bee": 3})
    whole = load_data(tmp_path / "d")
    (tmp_path / "d" / "train" / "bee" / "007.png").write_bytes(b"")
    (tmp_path / "d" / "test" / "ant" / "001.png").write_text("no image")
    data = load_data(tmp_path / "d")
    assert identities(data.train) == [pair for pair in identities(whole.train) if pair != (1, 7)]
    assert identities(data.test) == [pair for pair in identities(whole.test) if pair != (0, 1)]
    for split in (data.train, data.test):
        assert [label for label, _ in identities(split)] == split.labels.tolist()
    (note,) = data.notes
    assert "2 of 206 files were skipped: " in note
    assert "train/bee/007.png (empty file)" in note
    assert "test/ant/001.png (not an image)" in note
    assert len(data.skipped) == 2 and all(name in note for name in data.skipped)
    assert skipped_note(data.skipped, 206, most=1).endswith(f"{data.skipped[0]} and 1 more")


def test_one_unreadable_file_of_few_is_skipped_but_not_two(folders):
    (folders / "train" / "ant" / "000.png").write_bytes(b"")
    assert "1 of 72 files was skipped: " in load_data(folders).notes[0]
    for number in range(7):
        (folders / "train" / "ant" / f"{number:03d}.png").write_bytes(b"")
    with pytest.raises(UserError, match=r"7 of the 72 image files .*ant/000\.png \(empty file\).* and 2 more"):
        load_data(folders)


def test_a_class_whose_only_test_image_is_unreadable(tmp_path):
    write(tmp_path / "d" / "train", {"ant": 5, "bee": 5})
    write(tmp_path / "d" / "test", {"ant": 5, "bee": 1})
    (tmp_path / "d" / "test" / "bee" / "000.png").write_bytes(b"")
    with pytest.raises(UserError, match=r"test set of .* no images of bee"):
        load_data(tmp_path / "d")


def test_streamed_is_the_same_data(folders, tmp_path):
    (folders / "train" / "bee" / "003.png").write_bytes(b"")
    resident = load_data(folders)
    for _ in range(2):
        streamed = load_data(folders, memory_limit_mb=0, cache_dir=tmp_path / "cache")
        assert isinstance(streamed.train.images, np.memmap)
        np.testing.assert_array_equal(streamed.train.images, resident.train.images)
        np.testing.assert_array_equal(streamed.test.labels, resident.test.labels)
        np.testing.assert_array_equal(streamed.train.labels, resident.train.labels)
        assert (streamed.mean, streamed.std) == (resident.mean, resident.std)
        assert f"streamed from {tmp_path / 'cache'}" in streamed.notes[-1]
        assert streamed.notes[:-1] == resident.notes


@pytest.mark.parametrize(
    ("train", "test", "match"),
    [
        ({"a": 3}, {"a": 3}, "only one class"),
        ({"a": 3, "b": 3}, {"a": 3}, "test set of .* no images of b"),
        ({"a": 3}, {"a": 3, "b": 3}, "training set of .* no images of b"),
        ({"a": 3, "b": 3, "c": 0}, {"a": 3, "b": 3, "c": 1}, "training set of .* no images of c"),
    ],
)
def test_classes_must_be_in_both_parts(tmp_path, train, test, match):
    write(tmp_path / "d" / "train", train)
    write(tmp_path / "d" / "test", test)
    with pytest.raises(UserError, match=match):
        load_data(tmp_path / "d")


def test_one_class_or_a_class_of_one_image(tmp_path):
    write(tmp_path / "one", {"a": 5})
    with pytest.raises(UserError, match="only one class"):
        load_data(tmp_path / "one")
    write(tmp_path / "single", {"a": 5, "b": 1})
    with pytest.raises(UserError, match="'b' has a single image"):
        load_data(tmp_path / "single")


def test_classes_without_any_image_are_left_out(tmp_path):
    x, classes = noise(8, 16, 16), np.array(["ant", "bee", "cow", "dog"])
    np.savez(tmp_path / "d.npz", x=x, y=[1, 3] * 4, x_test=x, y_test=[3, 1] * 4, classes=classes)
    data = load_data(tmp_path / "d.npz")
    assert data.classes == ("bee", "dog")
    assert data.train.labels.tolist() == [0, 1] * 4
    assert data.test.labels.tolist() == [1, 0] * 4
    assert "ant, cow" in data.notes[0]


def test_errors_are_one_line(tmp_path):
    with pytest.raises(UserError) as error:
        load_data(tmp_path / "nowhere")
    assert "\n" not in str(error.value)
    assert "nowhere" in str(error.value)


def test_batch_size(folders):
    data = load_data(folders)
    check_batch_size(data, 60)
    with pytest.raises(UserError, match="60 images, fewer than one batch of 61"):
        check_batch_size(data, 61)
    with pytest.raises(UserError, match="batch size is 0"):
        check_batch_size(data, 0)


def test_digits_are_the_default():
    pytest.importorskip("sklearn")
    data = load_data()
    assert data.name == "digits"
    assert data.train.images.shape[1:] == (1, 32, 32)
    assert len(data.train) + len(data.test) == 1797
    assert min(np.bincount(data.test.labels)) >= 33
    assert load_data(image_size=16).image_size == 16


def test_the_environment_names_the_data(folders, monkeypatch, tmp_path):
    monkeypatch.setenv("GEARNN_DATA", str(folders))
    assert load_data().classes == ("ant", "bee", "cow")
    write(tmp_path / "other", {"x": 3, "y": 3})
    assert load_data(tmp_path / "other").classes == ("x", "y")
    monkeypatch.setenv("GEARNN_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(UserError, match="nowhere"):
        load_data()


def test_progress_is_told(folders):
    calls = []
    load_data(folders, progress=lambda *call: calls.append(call))
    assert calls[0][1:] == (0, 72)
    assert calls[-1][1:] == (72, 72)


@pytest.mark.skipif(not FASHION.is_dir(), reason="Debian's package dataset-fashion-mnist is not installed")
def test_fashion_mnist():
    data = load_data(FASHION, limit_train=1000, limit_test=500)
    assert data.train.images.shape == (1000, 1, 28, 28)
    assert data.classes[0] == "T-shirt/top"
    assert np.bincount(data.train.labels).tolist() == [100] * 10
    assert data.mean[0] == pytest.approx(0.286, abs=0.02)
    assert data.std[0] == pytest.approx(0.353, abs=0.02)


def test_cifar10(cifar10_dir):
    start = time.perf_counter()
    data = load_data(cifar10_dir, limit_train=2000, limit_test=1000)
    assert time.perf_counter() - start < 20
    assert data.classes == ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
    assert data.train.images.shape == (2000, 3, 32, 32)
    assert np.bincount(data.test.labels).tolist() == [100] * 10
    # The published statistics of CIFAR-10.
    np.testing.assert_allclose(data.mean, (0.4914, 0.4822, 0.4465), atol=0.01)
    np.testing.assert_allclose(data.std, (0.247, 0.243, 0.261), atol=0.01)


def test_fail_names_the_first_unreadable_file(folders):
    for name in ("bee/003.png", "ant/004.png"):
        (folders / "train" / name).write_bytes(b"")
    with pytest.raises(UserError, match=r"train/ant/004\.png \(empty file\) of .*--on-bad-image skip") as error:
        load_data(folders, on_bad_image="fail")
    assert "003" not in str(error.value)
    with pytest.raises(UserError, match="give 'skip' or 'fail'"):
        load_data(folders, on_bad_image="ask")


def test_every_skipped_file_is_named(tmp_path):
    x = write(tmp_path / "d", {f"c{label}": 200 for label in range(4)})
    for number in range(8):
        (x / "c0" / f"{number:03d}.png").write_bytes(b"")
    notes = " | ".join(load_data(x).notes)
    assert all(f"c0/{number:03d}.png (empty file)" in notes for number in range(8))


def test_leaks_and_line_breaks_in_names(folders):
    odd = folders / "train" / "ant" / "line\nbreak.png"
    odd.write_bytes((folders / "test" / "bee" / "001.png").read_bytes())
    leak = next(note for note in load_data(folders).notes if "also in the training set" in note)
    assert leak.startswith("1 of 12 test images")
    assert leak.endswith("test/bee/001.png = train/ant/line\\nbreak.png")
    odd.write_bytes(b"")
    (folders / "train" / "cow" / "000.png").write_bytes(b"")
    with pytest.raises(UserError, match=r"line\\nbreak\.png") as error:
        load_data(folders)
    assert "\n" not in str(error.value)


def test_pillow_does_not_warn_in_its_own_words(folders, recwarn, monkeypatch):
    monkeypatch.setattr("PIL.Image.MAX_IMAGE_PIXELS", 300)
    Image.fromarray(noise(20, 20, 3)).save(folders / "train" / "ant" / "large.png")
    assert "more than the safe 300 pixels" in " ".join(load_data(folders).notes)
    assert not recwarn.list
