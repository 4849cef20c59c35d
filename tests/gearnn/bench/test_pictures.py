"""What there is to time on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gearnn.bench.pictures import pictures_from, textured
from gearnn.errors import UserError


def test_generated_pictures_are_textured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GEARNN_DATA", raising=False)
    images = textured(4, 30, 0)
    assert images.shape == (4, 3, 30, 30) and images.dtype == np.uint8
    assert images.std((2, 3)).min() > 10 and len(np.unique(images[0, 0])) > 50
    source, pictures = pictures_from(None, 0)
    assert source.startswith("generated") and np.array_equal(pictures(4, 30), images)
    assert not np.array_equal(images, textured(4, 30, 1))


def test_pictures_of_a_folder_are_resized_and_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a", "b"):
        folder = tmp_path / "photos" / name
        folder.mkdir(parents=True)
        for n, image in enumerate(textured(4, 40, ord(name))):
            Image.fromarray(image.transpose(1, 2, 0)).save(folder / f"{n}.png")
    monkeypatch.setenv("GEARNN_DATA", str(tmp_path / "photos"))
    source, pictures = pictures_from(None, 0)
    assert source == "from photos, resized"
    images = pictures(20, 24)
    assert images.shape == (20, 3, 24, 24) and images.dtype == np.uint8 and images.std((2, 3)).min() > 5
    with pytest.raises(UserError, match="absent"):
        pictures_from(tmp_path / "absent", 0)[1](4, 24)
