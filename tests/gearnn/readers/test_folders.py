"""Image folders: which folder is what, and nothing that depends on the file system."""

from __future__ import annotations

import os

import pytest

from gearnn.errors import UserError
from gearnn.readers import folders


def touch(root, *names):
    """Readers of folders only list: the files may be empty."""
    for name in names:
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"")


def listing(part, root):
    return [(path.relative_to(root).as_posix(), int(label)) for path, label in zip(part.images, part.labels)]


def test_train_and_test(tmp_path):
    touch(tmp_path, "train/dog/b.jpg", "train/dog/a.JPG", "train/cat/c.png", "test/cat/x.jpg", "test/dog/y.jpeg")
    source = folders.read(tmp_path)
    assert source.classes == ("cat", "dog")
    assert listing(source.train, tmp_path) == [("train/cat/c.png", 0), ("train/dog/a.JPG", 1), ("train/dog/b.jpg", 1)]
    assert listing(source.test, tmp_path) == [("test/cat/x.jpg", 0), ("test/dog/y.jpeg", 1)]
    assert source.notes == ()
    assert source.name == tmp_path.name


@pytest.mark.parametrize("name", ["val", "valid", "Validation", "Test"])
def test_other_names_of_the_test_folder(tmp_path, name):
    touch(tmp_path, "train/a/1.jpg", "train/b/1.jpg", f"{name}/a/1.jpg", f"{name}/b/1.jpg")
    assert len(folders.read(tmp_path).test) == 2


def test_test_goes_before_val_and_the_other_is_noted(tmp_path):
    touch(tmp_path, *[f"{part}/{name}/{part}.jpg" for part in ("train", "val", "test") for name in "ab"])
    source = folders.read(tmp_path)
    assert [path.name for path in source.test.images] == ["test.jpg", "test.jpg"]
    assert any("val/ is not used" in note for note in source.notes)


def test_unlabelled_test_folder_gives_way_to_val(tmp_path):
    touch(tmp_path, "train/a/1.jpg", "train/b/1.jpg", "val/a/v.jpg", "val/b/v.jpg", "test/images/t.jpg")
    source = folders.read(tmp_path)
    assert source.classes == ("a", "b")
    assert {path.name for path in source.test.images} == {"v.jpg"}


def test_flat_class_folders(tmp_path):
    touch(tmp_path, "a/1.jpg", "b/1.jpg")
    source = folders.read(tmp_path)
    assert source.test is None
    assert source.classes == ("a", "b")


def test_a_class_may_be_called_train(tmp_path):
    touch(tmp_path, "bus/1.jpg", "train/1.jpg", "test/1.jpg")
    assert folders.read(tmp_path).classes == ("bus", "test", "train")


def test_training_folder_alone_is_to_be_split(tmp_path):
    touch(tmp_path, "train/a/1.jpg", "train/b/1.jpg")
    source = folders.read(tmp_path)
    assert source.test is None
    assert any("no test/ or val/" in note for note in source.notes)


def test_images_at_any_depth(tmp_path):
    touch(tmp_path, "a/x/y/2.jpg", "a/1.jpg", "b/1.jpg")
    assert listing(folders.read(tmp_path).train, tmp_path) == [("a/1.jpg", 0), ("a/x/y/2.jpg", 0), ("b/1.jpg", 1)]


def test_hidden_files_and_archive_litter_are_skipped(tmp_path):
    touch(tmp_path, "a/1.jpg", "a/.2.jpg", "b/1.jpg", ".git/1.jpg", "__MACOSX/a/1.jpg", "a/.ipynb_checkpoints/1.jpg")
    source = folders.read(tmp_path)
    assert source.classes == ("a", "b")
    assert len(source.train) == 2


def test_unicode_class_names_sort_and_compose(tmp_path):
    composed, decomposed = "caf\u00e9", "cafe\u0301"
    touch(tmp_path, f"train/{composed}/1.jpg", "train/猫/1.jpg", f"test/{decomposed}/1.jpg", "test/猫/1.jpg")
    source = folders.read(tmp_path)
    assert source.classes == (composed, "猫")
    assert list(source.test.labels) == [0, 1]


def test_undecodable_names_can_be_printed(tmp_path):
    folder = os.fsencode(tmp_path) + b"/caf\xe9"
    try:
        os.mkdir(folder)  # noqa: PTH102
    except OSError:
        pytest.skip("this file system only takes UTF-8 names")
    with open(folder + b"/1.jpg", "wb"):  # noqa: PTH123
        pass
    touch(tmp_path, "dog/1.jpg")
    assert "caf\ufffd" in folders.read(tmp_path).classes
    "".join(folders.read(tmp_path).classes).encode("utf-8")


def test_link_loops_end_and_bring_no_foreign_images(tmp_path):
    touch(tmp_path, "a/1.jpg", "b/1.jpg")
    (tmp_path / "a" / "up").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "a" / "self").symlink_to(tmp_path / "a", target_is_directory=True)
    (tmp_path / "loop").symlink_to(tmp_path, target_is_directory=True)
    source = folders.read(tmp_path)
    assert listing(source.train, tmp_path) == [("a/1.jpg", 0), ("b/1.jpg", 1)]


def test_links_to_data_elsewhere_are_followed(tmp_path):
    touch(tmp_path, "store/a/1.jpg", "store/b.jpg", "data/b/1.jpg")
    (tmp_path / "data" / "a").symlink_to(tmp_path / "store" / "a", target_is_directory=True)
    (tmp_path / "data" / "b" / "2.jpg").symlink_to(tmp_path / "store" / "b.jpg")
    (tmp_path / "data" / "b" / "3.jpg").symlink_to(tmp_path / "store" / "gone.jpg")
    source = folders.read(tmp_path / "data")
    names = [name for name, _ in listing(source.train, tmp_path / "data")]
    assert names == ["a/1.jpg", "b/1.jpg", "b/2.jpg", "b/3.jpg"]  # the broken link is named later, as unreadable


def test_pipes_are_not_opened(tmp_path):
    touch(tmp_path, "a/1.jpg", "b/1.jpg")
    os.mkfifo(tmp_path / "a" / "2.jpg")
    assert len(folders.read(tmp_path).train) == 2


def test_what_is_left_out_is_noted(tmp_path):
    touch(tmp_path, "a/1.jpg", "a/readme.txt", "b/1.jpg", "empty/readme.md", "loose.png")
    notes = " | ".join(folders.read(tmp_path).notes)
    assert "folders without images" in notes
    assert "empty" in notes
    assert "loose.png" in notes
    assert "2 files in" in notes and "are no images and not used: readme.txt, readme.md" in notes
    assert "1 image directly in" in notes and "has no class and is not used" in notes


def test_a_single_file_is_noted_in_the_singular(tmp_path):
    touch(tmp_path, "a/1.jpg", "b/1.jpg", "b/notes.txt", "x.png", "y.png")
    notes = " | ".join(folders.read(tmp_path).notes)
    assert f"1 file in {tmp_path.name}/ is no image and not used: notes.txt" in notes
    assert f"2 images directly in {tmp_path.name}/ have no class and are not used" in notes


def test_no_images(tmp_path):
    touch(tmp_path, "a/readme.txt", "b/readme.txt")
    with pytest.raises(UserError, match="holds no images"):
        folders.read(tmp_path)


def test_images_without_class_folders(tmp_path):
    touch(tmp_path, "1.jpg", "2.jpg")
    assert folders.matches(tmp_path)
    with pytest.raises(UserError, match="sub-folder named after the class"):
        folders.read(tmp_path)
