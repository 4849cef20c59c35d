from __future__ import annotations

from pathlib import Path

import numpy as np

from gearnn.config import RunConfig
from gearnn.data import load_data
from gearnn.examples import save_examples
from gearnn.robustness import CORRUPTIONS, corrupt


def test_examples_are_the_images_of_the_benchmark(tmp_path: Path) -> None:
    dataset = load_data(None, limit_train=100, limit_test=40)
    config = RunConfig(seed=3)
    save_examples(tmp_path / "examples.npz", dataset, config, count=2)
    found = np.load(tmp_path / "examples.npz", allow_pickle=False)
    shape = dataset.test.images.shape[1:]
    assert found["clean"].shape == (2, *shape) and found["corrupted"].shape == (2, 15, *shape)
    assert found["by_severity"].shape == (15, 5, *shape) and found["by_severity"].dtype == np.uint8
    np.testing.assert_array_equal(found["clean"][1], dataset.test.images[-1])
    fog = CORRUPTIONS.index("fog")
    np.testing.assert_array_equal(found["by_severity"][fog, 4], corrupt(dataset.test.images[:1], "fog", 5, seed=3)[0])
    np.testing.assert_array_equal(found["by_severity"][:, 2], found["corrupted"][0])  # which is at severity 3
    assert "named_clean" not in found.files


def test_what_a_network_names_is_kept(tmp_path: Path) -> None:
    dataset = load_data(None, limit_train=100, limit_test=40)

    def predict(images: np.ndarray) -> np.ndarray:
        """Class 2 of bright images, class 1 of others."""
        return np.eye(3)[np.where(images.mean((1, 2, 3)) > 150, 2, 1)]

    save_examples(tmp_path / "examples.npz", dataset, RunConfig(seed=3), predict, count=4)
    found = np.load(tmp_path / "examples.npz", allow_pickle=False)
    bright = found["corrupted"].mean((2, 3, 4)) > 150
    np.testing.assert_array_equal(found["named_corrupted"], np.where(bright, 2, 1))
    np.testing.assert_array_equal(found["named_clean"], np.where(found["clean"].mean((1, 2, 3)) > 150, 2, 1))
    assert bright.any() and not bright.all()
