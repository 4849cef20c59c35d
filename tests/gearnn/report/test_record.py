from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any, Callable

import numpy as np
import pytest

from gearnn.errors import UserError
from gearnn.report.record import number, read_run, text

MakeRun = Callable[..., Path]


def test_everything_in_a_run_folder_is_read(make_run: MakeRun) -> None:
    run = read_run(make_run())
    assert [network.name for network in run.networks] == ["seed", "grown", "robust", "baseline"]
    assert run.final is not None and run.final.name == "robust" and len(run.final.scores) == 15
    assert run.baseline is not None and run.baseline.params == 107_930
    assert len(run.metrics) == 121 and len(run.phases) == 5 and len(run.layers) == 14
    assert run.layers[2].before == 16 and run.layers[2].after == 40 and run.layers[2].split == 3
    assert run.examples is not None and run.examples.corrupted is not None and run.examples.corrupted.shape == (6, 15, 1, 32, 32)
    assert run.missing == ()


def test_cost_of_a_network_is_that_of_its_phases(make_run: MakeRun) -> None:
    seed, grown, robust, baseline = read_run(make_run()).networks
    assert seed.images == 1437 * 12
    assert grown.images == 1437 * (12 + 2 + 8)
    assert grown.seconds == pytest.approx(21.4 + 9.8 + 19.6)
    assert robust.images == 1437 * (12 + 2 + 8 + 40)
    assert baseline.images == 1437 * 61 and baseline.seconds == pytest.approx(148.9)  # it started anew


def test_cost_in_the_result_comes_first(make_run: MakeRun) -> None:
    run = read_run(make_run(lambda result: result["networks"][0].update(trained_images=7, train_seconds=1.5)))
    assert (run.networks[0].images, run.networks[0].seconds) == (7, 1.5)


@pytest.mark.parametrize("content", [None, "{", "[1]", b"\xff\xfe"])
def test_no_result_is_one_sentence(tmp_path: Path, content: Any) -> None:
    path = tmp_path / "result.json"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        path.write_text(content, encoding="utf-8")
    with pytest.raises(UserError, match=r"result\.json") as caught:
        read_run(tmp_path)
    assert "\n" not in str(caught.value)


def test_missing_files_are_named(tmp_path: Path) -> None:
    (tmp_path / "result.json").write_text("{}", encoding="utf-8")
    run = read_run(tmp_path)
    assert [line.split()[0] for line in run.missing] == ["config.json", "metrics.jsonl", "examples.npz"]
    assert run.networks == () and run.final is None and run.examples is None


def test_unreadable_lines_are_counted_and_left_out(make_run: MakeRun) -> None:
    folder = make_run()
    with (folder / "metrics.jsonl").open("a", encoding="utf-8") as stream:
        stream.write('{"phase": "era", "ep\n3\n\n')
    run = read_run(folder)
    assert len(run.metrics) == 121
    assert run.missing == ("metrics.jsonl has 2 unreadable lines, left out of the curves.",)


@pytest.mark.parametrize(
    "arrays",
    [
        {"clean": np.ones((2, 1, 8, 8))},
        {"clean": np.ones((2, 8, 8), np.uint8)},
        {"clean": np.array([{"pickled": True}], dtype=object)},
        {"labels": np.arange(2)},
    ],
)
def test_unfit_examples_are_left_out(make_run: MakeRun, arrays: Any) -> None:
    folder = make_run()
    np.savez(folder / "examples.npz", **arrays)
    run = read_run(folder)
    assert run.examples is None and len(run.missing) == 1 and "examples.npz" in run.missing[0]


def test_examples_that_do_not_belong_together_are_left_out(make_run: MakeRun) -> None:
    folder = make_run()
    images = np.arange(2 * 64, dtype=np.uint8).reshape(2, 1, 8, 8)
    np.savez(folder / "examples.npz", clean=images, augmented=images[:1, None], labels=np.arange(3))
    found = read_run(folder).examples
    assert found is not None and found.augmented is None and found.corrupted is None and found.labels is None


def test_only_finite_numbers_are_numbers() -> None:
    found = [number(entry) for entry in (1, 0.5, True, "1", None, float("nan"), float("inf"), [1])]
    assert found == [1.0, 0.5, None, None, None, None, None, None]
    assert [text(entry) for entry in ("a", "", 3, True, None, {})] == ["a", None, "3", None, None, None]


def test_widths_that_do_not_match_fall_back_on_the_record_of_growth(make_run: MakeRun) -> None:
    folder = make_run(lambda result: result.update(widths_final=[8]))
    layers = read_run(folder).layers
    assert layers[0].name == "features.0.0" and layers[0].after == 24
    unnamed = read_run(make_run(lambda result: result.update(width_layers=None))).layers
    assert unnamed[0].name == "layer 1" and unnamed[0].after == 24


def test_a_result_is_only_read(make_run: MakeRun) -> None:
    folder = make_run()
    before = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    assert dict(read_run(folder).result) == before


def test_examples_that_unpack_to_too_much_are_left_out(make_run, monkeypatch):
    folder = make_run()
    assert read_run(folder).examples is not None
    monkeypatch.setattr("gearnn.report.stored._LARGEST", 1000)
    run = read_run(folder)
    assert run.examples is None and any("examples.npz" in sentence for sentence in run.missing)


@pytest.mark.parametrize("shape", ["(1000000000, 1000, 1000, 1000)", "(-1, 1, 8, 8)"])
def test_a_header_that_asks_for_more_than_there_is(make_run, shape):
    folder = make_run()
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": "|u1", "fortran_order": False, "shape": (6, 1, 8, 8)})
    stated = stream.getvalue().replace(b"(6, 1, 8, 8)", shape.encode())
    with zipfile.ZipFile(folder / "examples.npz", "w") as archive:
        archive.writestr("clean.npy", stated + bytes(384))
    assert read_run(folder).examples is None


def test_more_images_than_any_run_keeps_are_not_drawn(make_run):
    folder = make_run()
    np.savez(folder / "examples.npz", clean=np.ones((65, 1, 8, 8), np.uint8))
    assert read_run(folder).examples is None
