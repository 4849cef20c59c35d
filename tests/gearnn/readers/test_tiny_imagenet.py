"""Tiny ImageNet's published layout."""

from __future__ import annotations

import pytest

from gearnn.errors import UserError
from gearnn.readers import tiny_imagenet


@pytest.fixture
def tiny(tmp_path):
    for wnid in ("n02", "n01", "n03"):
        for number in range(3):
            file = tmp_path / "train" / wnid / "images" / f"{wnid}_{number}.JPEG"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(b"")
        (tmp_path / "train" / wnid / f"{wnid}_boxes.txt").write_text("")
    (tmp_path / "val" / "images").mkdir(parents=True)
    rows = [("val_1.JPEG", "n03"), ("val_0.JPEG", "n01"), ("val_2.JPEG", "n02")]
    (tmp_path / "val" / "val_annotations.txt").write_text("".join(f"{name}\t{wnid}\t0\t0\t62\t62\n" for name, wnid in rows))
    (tmp_path / "test" / "images").mkdir(parents=True)
    (tmp_path / "test" / "images" / "test_0.JPEG").write_bytes(b"")
    (tmp_path / "wnids.txt").write_text("n03\nn01\nn02\n")
    (tmp_path / "words.txt").write_text("n01\tgoldfish, Carassius auratus\nn02\tcrane\nn03\tcrane\nn04\tunused\n")
    return tmp_path


def test_reads_files_labels_and_names(tiny):
    assert tiny_imagenet.matches(tiny)
    source = tiny_imagenet.read(tiny)
    assert source.classes == ("goldfish", "crane (n02)", "crane (n03)")
    assert [path.name for path in source.train.images[:4]] == ["n01_0.JPEG", "n01_1.JPEG", "n01_2.JPEG", "n02_0.JPEG"]
    assert source.train.labels.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert [path.name for path in source.test.images] == ["val_0.JPEG", "val_1.JPEG", "val_2.JPEG"]
    assert source.test.labels.tolist() == [0, 2, 1]


def test_without_the_two_listings(tiny):
    (tiny / "wnids.txt").unlink()
    (tiny / "words.txt").unlink()
    assert tiny_imagenet.read(tiny).classes == ("n01", "n02", "n03")


@pytest.mark.parametrize(("line", "match"), [("val_9.JPEG n01\n", "Line 4 .* is not"), ("val_9.JPEG\tn77\t0\n", "'n77'")])
def test_bad_annotations(tiny, line, match):
    with (tiny / "val" / "val_annotations.txt").open("a") as file:
        file.write(line)
    with pytest.raises(UserError, match=match):
        tiny_imagenet.read(tiny)


def test_annotations_cannot_point_outside(tiny):
    with (tiny / "val" / "val_annotations.txt").open("a") as file:
        file.write("../../../secret.jpg\tn01\t0\n")
    assert all(path.parent == tiny / "val" / "images" for path in tiny_imagenet.read(tiny).test.images)
