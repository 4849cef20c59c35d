"""Readers of the published files, on small ones in the same layouts."""

from __future__ import annotations

from pathlib import Path
from typing import List, Optional, Tuple

import numpy as np
import pytest
from PIL import Image

from gearnn.data import Dataset, Split, load_data
from gearnn.errors import UserError
from gearnn.robustness import ALL_CORRUPTIONS, benchmark, open_official

BLOCK = 12
NAMES = ("frog", "cat", "dog")  # not in the order of the alphabet
NUMBERS = np.array([0, 1, 2] * 4)  # as published: cat, dog, frog
WNIDS = ("n02", "n01", "n03")


def _dataset(classes: Tuple[str, ...] = NAMES, side: int = 32, channels: int = 3, name: str = "pets", count: int = 9) -> Dataset:
    images = np.random.default_rng(0).integers(0, 256, (count, channels, side, side), dtype=np.uint8)
    split = Split(images, np.arange(count, dtype=np.int64) % len(classes))
    return Dataset(name, "made by a test", classes, split, split, (0.5,) * channels, (0.25,) * channels, ())


def _pixels(corruption: str) -> np.ndarray:
    key = ALL_CORRUPTIONS.index(corruption)
    return np.random.default_rng(key).integers(0, 256, (5 * BLOCK, 32, 32, 3), dtype=np.uint8)


@pytest.fixture()
def cifar_c(tmp_path: Path) -> Path:
    folder = tmp_path / "CIFAR-10-C"
    folder.mkdir()
    for name in ("fog", "snow", "spatter"):
        np.save(folder / f"{name}.npy", _pixels(name))
    np.save(folder / "labels.npy", np.tile(NUMBERS, 5).astype(np.uint8))
    return folder


def _read(folder: Path, cell: Tuple[str, int], limit: Optional[int] = None, seed: int = 0) -> Tuple[np.ndarray, np.ndarray]:
    official = open_official(folder, _dataset(), limit=limit, seed=seed, block=BLOCK)
    batches: List[np.ndarray] = [batch.images for batch in official.batches([cell], 5)]
    return np.concatenate(batches), official.labels


def test_cifar_blocks_are_severities(cifar_c: Path) -> None:
    for severity in (1, 3, 5):
        images, labels = _read(cifar_c, ("snow", severity))
        expected = _pixels("snow")[(severity - 1) * BLOCK : severity * BLOCK].transpose(0, 3, 1, 2)
        np.testing.assert_array_equal(images, expected)
        assert images.flags.c_contiguous and images.flags.writeable
    # cat, dog, frog have the numbers 0, 1, 2 there, and 1, 2, 0 here
    np.testing.assert_array_equal(labels, [1, 2, 0] * 4)


def test_a_subset_is_the_same_images_of_each(cifar_c: Path) -> None:
    images, labels = _read(cifar_c, ("fog", 4), limit=6)
    assert sorted(labels) == [0, 0, 1, 1, 2, 2]
    block = _pixels("fog")[3 * BLOCK : 4 * BLOCK].transpose(0, 3, 1, 2)
    rows = [int(np.flatnonzero((block == image).all(axis=(1, 2, 3)))[0]) for image in images]
    others = _pixels("spatter")[:BLOCK].transpose(0, 3, 1, 2)
    np.testing.assert_array_equal(_read(cifar_c, ("spatter", 1), limit=6)[0], others[rows])
    np.testing.assert_array_equal(np.array([1, 2, 0] * 4)[rows], labels)
    changed = [_read(cifar_c, ("fog", 4), limit=6, seed=seed)[0] for seed in range(1, 4)]
    assert any(not np.array_equal(images, other) for other in changed)


def test_a_subset_is_that_of_the_clean_images(cifar_c: Path, tmp_path: Path) -> None:
    """Where the data set has the published order."""
    clean = _pixels("fog")[:BLOCK].transpose(0, 3, 1, 2)
    np.savez(tmp_path / "pets.npz", x=clean, y=NUMBERS, x_test=clean, y_test=NUMBERS)
    dataset = load_data(tmp_path / "pets.npz", limit_test=6, seed=8)
    official = open_official(cifar_c, dataset, limit=6, seed=8, block=BLOCK)
    (batch,) = official.batches([("fog", 1)], 20)
    np.testing.assert_array_equal(batch.images, dataset.test.images)
    np.testing.assert_array_equal(official.labels, dataset.test.labels)


def test_the_report_says_official(cifar_c: Path) -> None:
    def answers_by_brightness(images: np.ndarray) -> np.ndarray:
        return np.stack([images[:, channel].mean(axis=(1, 2)) for channel in range(3)], axis=1)

    dataset = _dataset()
    report = benchmark(
        answers_by_brightness,
        dataset.test,
        corruptions=("fog", "snow", "spatter"),
        severities=(2, 5),
        official=open_official(cifar_c, dataset, block=BLOCK, workers=2),
        batch_size=5,
    )
    assert (report.kind, report.parameters, report.n, report.n_clean) == ("official", "cifar", BLOCK, 9)
    for name in ("fog", "snow"):
        for column, severity in enumerate((2, 5)):
            images, labels = _read(cifar_c, (name, severity))
            expected = np.mean(answers_by_brightness(images).argmax(1) == labels)
            assert report.per_corruption[name][column] == pytest.approx(expected)
    assert report.extra is not None
    assert report.clean == pytest.approx(np.mean(answers_by_brightness(dataset.test.images).argmax(1) == dataset.test.labels))


def test_missing_corruptions_are_all_named(cifar_c: Path) -> None:
    with pytest.raises(UserError, match=r"lacks frost.npy, contrast.npy: ") as told:
        benchmark(
            lambda images: images[:, :, 0, 0],
            _dataset().test,
            corruptions=("fog", "frost", "contrast"),
            official=open_official(cifar_c, _dataset(), block=BLOCK),
        )
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("fog", np.zeros((5 * BLOCK, 3, 32, 32), np.uint8), r"uint8 \(60, 3, 32, 32\), but uint8 \(60, 32, 32, 3\)"),
        ("fog", np.zeros((4 * BLOCK, 32, 32, 3), np.uint8), r"\(48, 32, 32, 3\)"),
        ("fog", np.zeros((5 * BLOCK, 32, 32, 3), np.float32), "float32"),
        ("fog", np.array([{}] * 3, dtype=object), "no plain NumPy array"),
        ("labels", np.array([{}] * 60, dtype=object), "no plain NumPy array"),
        ("labels", np.tile(NUMBERS, 5).astype(np.float32), "integers"),
        ("labels", np.tile(NUMBERS, 4), r"\(48,\)"),
        ("labels", np.sort(np.tile(NUMBERS, 5)), "labels of the severities disagree"),
        ("labels", np.tile(NUMBERS, 5) + 1, "from 1 to 3"),
        ("labels", np.tile(np.arange(12) % 4, 5), "4 labels from 0 to 3, but pets has 3 classes"),
    ],
)
def test_files_that_are_not_what_was_published(cifar_c: Path, name: str, content: np.ndarray, message: str) -> None:
    np.save(cifar_c / f"{name}.npy", content, allow_pickle=True)
    with pytest.raises(UserError, match=message) as told:
        open_official(cifar_c, _dataset(), block=BLOCK)
    assert f"{name}.npy" in str(told.value)


def test_short_and_missing_files(cifar_c: Path, tmp_path: Path) -> None:
    whole = (cifar_c / "fog.npy").read_bytes()
    for content in (whole[:-1], b"", b"PK\x03\x04"):
        (cifar_c / "fog.npy").write_bytes(content)
        with pytest.raises(UserError, match="fog.npy is no plain NumPy array"):
            open_official(cifar_c, _dataset(), block=BLOCK)
    (cifar_c / "labels.npy").unlink()
    with pytest.raises(UserError, match="there is no .*labels.npy"):
        open_official(cifar_c, _dataset(), block=BLOCK)
    with pytest.raises(UserError, match="there is no folder"):
        open_official(tmp_path / "nowhere", _dataset())
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="holds neither"):
        open_official(tmp_path / "empty", _dataset())


def test_data_that_the_files_do_not_belong_to(cifar_c: Path) -> None:
    for dataset in (_dataset(side=64), _dataset(channels=1)):
        with pytest.raises(UserError, match="32 × 32"):
            open_official(cifar_c, dataset, block=BLOCK)
    with pytest.raises(UserError, match="disagree with the test set of pets: 4 images of 'frog', not 12"):
        test = Split(np.zeros((BLOCK, 3, 32, 32), np.uint8), np.zeros(BLOCK, np.int64))
        dataset = _dataset()
        open_official(cifar_c, Dataset("pets", "", NAMES, dataset.train, test, dataset.mean, dataset.std), block=BLOCK)
    np.save(cifar_c / "labels.npy", np.tile(np.arange(10), 5))
    for name in ("fog", "snow", "spatter"):
        np.save(cifar_c / f"{name}.npy", _pixels(name)[:50])
    with pytest.raises(UserError, match="classes of CIFAR-10"):
        open_official(cifar_c, _dataset(tuple("abcdefghij"), count=20), block=10)
    digits = open_official(cifar_c, _dataset(tuple("0123456789"), count=20), block=10)
    np.testing.assert_array_equal(digits.labels, np.arange(10))


@pytest.fixture()
def tiny_c(tmp_path: Path) -> Path:
    """3 classes × 4 images; red says the corruption, green the severity, blue which image it is."""
    folder = tmp_path / "Tiny-ImageNet-C"
    for red, corruption in enumerate(("brightness", "fog")):
        for severity in (1, 2):
            for number in range(12):
                place = folder / corruption / str(severity) / sorted(WNIDS)[number // 4] / f"val_{number:02}.JPEG"
                place.parent.mkdir(parents=True, exist_ok=True)
                Image.new("RGB", (64, 64), (100 * red, 50 * severity, 20 * number)).save(place, quality=100)
    return folder


def _colours(folder: Path, dataset: Dataset, cell: Tuple[str, int], limit: Optional[int] = None) -> Tuple[np.ndarray, np.ndarray]:
    official = open_official(folder, dataset, block=12, limit=limit, workers=2)
    images = np.concatenate([batch.images for batch in official.batches([cell], 5)])
    assert images.dtype == np.uint8 and images.shape[1:] == (3, 64, 64)
    return images.mean(axis=(2, 3)), official.labels


def test_tiny_imagenet_folders(tiny_c: Path) -> None:
    by_id = _dataset(WNIDS, side=64)
    colours, labels = _colours(tiny_c, by_id, ("fog", 2))
    np.testing.assert_allclose(colours, [[100, 100, 20 * number] for number in range(12)], atol=3)
    np.testing.assert_array_equal(labels, np.repeat([1, 0, 2], 4))
    by_name = _dataset(("goldfish", "salamander", "bullfrog"), side=64, name="Tiny ImageNet")
    np.testing.assert_array_equal(_colours(tiny_c, by_name, ("fog", 1))[1], np.repeat([0, 1, 2], 4))
    some, few = _colours(tiny_c, by_id, ("fog", 1), limit=6)
    others, same = _colours(tiny_c, by_id, ("brightness", 2), limit=6)
    np.testing.assert_allclose(some[:, 2], others[:, 2], atol=3)
    np.testing.assert_array_equal(few, same)
    assert sorted(few) == [0, 0, 1, 1, 2, 2]


def test_tiny_imagenet_files_that_are_missing_or_wrong(tiny_c: Path) -> None:
    dataset = _dataset(WNIDS, side=64)
    with pytest.raises(UserError, match=r"lacks fog/3, snow/1: "):
        open_official(tiny_c, dataset, block=12).check([("fog", 2), ("fog", 3), ("snow", 1)])
    with pytest.raises(UserError, match="has 12 images, not 10,000"):
        open_official(tiny_c, dataset)
    with pytest.raises(UserError, match="are not the 3 of pets"):
        open_official(tiny_c, _dataset(side=64), block=12)
    with pytest.raises(UserError, match="64 × 64"):
        open_official(tiny_c, _dataset(WNIDS), block=12)
    place = tiny_c / "fog" / "2" / "n02" / "val_05.JPEG"
    Image.new("RGB", (32, 32)).save(place)
    with pytest.raises(UserError, match="val_05.JPEG has 32 × 32"):
        _colours(tiny_c, dataset, ("fog", 2))
    place.unlink()
    with pytest.raises(UserError, match="val_05.JPEG cannot be read"):
        _colours(tiny_c, dataset, ("fog", 2))
