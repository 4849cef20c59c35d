"""The embedded digits."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from gearnn.errors import UserError
from gearnn.readers import digits


def test_the_scans_survive_the_enlargement():
    sklearn_datasets = pytest.importorskip("sklearn.datasets")
    source = digits.read()
    assert source.train.images.shape == (1797, 1, 32, 32)
    assert source.train.images.dtype == np.uint8
    assert source.classes == tuple("0123456789")
    assert source.test is None
    scans = 255 - sklearn_datasets.load_digits().images * (255 / 16)  # ink on paper
    means = source.train.images.reshape(-1, 8, 4, 8, 4).mean((2, 4))
    assert np.corrcoef(means.ravel(), scans.ravel())[0, 1] > 0.98
    assert source.train.images.max() == 255
    assert source.train.images.mean() > 128


def test_without_scikit_learn(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(UserError, match="scikit-learn"):
        digits.read()
