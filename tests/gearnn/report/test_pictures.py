from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Callable

import numpy as np
import pytest
from PIL import Image

from gearnn.report.pictures import data_uri, examples, hover_pictures
from gearnn.report.record import read_run


def decoded(uri: str) -> Image.Image:
    head, data = uri.split(",", 1)
    assert head == "data:image/png;base64"
    return Image.open(io.BytesIO(base64.b64decode(data)))


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (2, "L"), (3, "RGB"), (4, "RGB")])
def test_images_survive_their_encoding(channels: int, mode: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (channels, 20, 20), dtype=np.uint8)
    picture = decoded(data_uri(pixels))
    assert picture.mode == mode
    expected = pixels[:3].transpose(1, 2, 0) if mode == "RGB" else pixels[0]
    np.testing.assert_array_equal(np.asarray(picture), expected)


def test_large_images_are_made_small() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (3, 224, 224), dtype=np.uint8)
    assert decoded(data_uri(pixels)).size == (96, 96)


def test_strips_are_named_and_folded(make_run: Callable[..., Path]) -> None:
    shown = examples(read_run(make_run()))
    assert shown.count("<img ") == 6 * (1 + 3 + 15)
    assert "<summary>3 more</summary>" in shown
    assert (
        'alt="0, clean"' in shown and 'alt="5, gaussian noise"' in shown and 'alt="2, view 3"' in shown and "view 4" not in shown
    )


def test_names_are_not_invented(make_run: Callable[..., Path]) -> None:
    shown = examples(read_run(make_run(lambda result: result.update(classes=["only"], networks=[]))))
    assert 'alt="only, clean"' in shown and 'alt="class 5, corruption 15"' in shown


def test_what_the_network_named_stands_below_its_image(make_run: Callable[..., Path]) -> None:
    folder = make_run()
    shown = examples(read_run(folder))
    assert shown.count('<span class="said">✓ ') == 6 * (1 + 15) - 1
    assert 'alt="1, fog"' in shown and '<figcaption>fog<span class="said wrong">✗ 7</span>' in shown
    with np.load(folder / "examples.npz") as stored:
        kept = {name: stored[name] for name in stored.files}
    np.savez(folder / "examples.npz", **{**kept, "named_clean": kept["named_clean"][:2], "named_corrupted": kept["labels"]})
    assert "said" not in examples(read_run(folder))  # shapes that do not fit are not guessed at
    np.savez(folder / "examples.npz", **{name: array for name, array in kept.items() if name != "labels"})
    assert '<span class="said">0</span>' in examples(read_run(folder)) and "✗" not in examples(read_run(folder))


def test_every_cell_of_the_heat_map_has_its_image(make_run: Callable[..., Path]) -> None:
    run = read_run(make_run())
    pictures = hover_pictures(run)
    assert run.examples is not None and run.examples.by_severity is not None
    assert len(pictures) == 1 + 15 * 5
    np.testing.assert_array_equal(np.asarray(decoded(pictures["9,2"])), run.examples.by_severity[9, 2, 0])
    np.testing.assert_array_equal(np.asarray(decoded(pictures["clean"])), run.examples.clean[0, 0])


def test_older_runs_show_the_one_severity_that_they_kept(make_run: Callable[..., Path]) -> None:
    folder = make_run()
    with np.load(folder / "examples.npz") as stored:
        np.savez(folder / "examples.npz", **{name: stored[name] for name in stored.files if name != "by_severity"})
    run = read_run(folder)
    pictures = hover_pictures(run)
    assert set(pictures) == {"clean", *(f"{row},2" for row in range(15))}
    assert run.examples is not None and run.examples.corrupted is not None
    np.testing.assert_array_equal(np.asarray(decoded(pictures["14,2"])), run.examples.corrupted[0, 14, 0])


def test_images_of_other_corruptions_are_not_shown(make_run: Callable[..., Path]) -> None:
    run = read_run(make_run(lambda result: result["networks"][2]["robustness"]["per_corruption"].pop("fog")))
    assert hover_pictures(run) == {}
