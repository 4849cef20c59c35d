"""How long it will take."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.evidence.cells import cells_of
from benchmarks.evidence.rows import rows_named
from benchmarks.evidence.scales import scale_named
from benchmarks.evidence.watch import Watch, expected, in_words


def test_expectations_come_from_like_cells(tmp_path: Path) -> None:
    scale = scale_named("cpu")
    cells = {
        (cell.arena.arch, cell.row.name, cell.seed): cell
        for cell in cells_of(scale.arenas, rows_named(["small-clean", "small-era"]), (0, 1, 2), tmp_path)
    }
    measured = [
        (cells["vgg19", "small-clean", 0], 10.0),
        (cells["vgg19", "small-clean", 1], 20.0),
        (cells["vgg19", "small-era", 0], 90.0),
        (cells["resnet18", "small-era", 0], 400.0),
    ]
    assert expected(cells["vgg19", "small-clean", 2], measured) == 15.0
    assert expected(cells["resnet18", "small-clean", 2], measured) == 400.0
    assert expected(cells["mobilenet_v1", "small-clean", 2], measured) == 130.0
    assert expected(cells["vgg19", "small-clean", 2], []) is None


@pytest.mark.parametrize(("seconds", "words"), [(44.6, "45s"), (125, "2m05s"), (3600, "1h00m"), (11100, "3h05m")])
def test_durations_for_people(seconds: float, words: str) -> None:
    assert in_words(seconds) == words


def test_a_call_says_how_many_cells_there_are(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    cells = cells_of(scale_named("cpu-small").arenas, rows_named(["small-clean"]), (0, 1), tmp_path)
    watch = Watch(cells, 1)
    watch.begin(cells)
    watch.started(cells[0])
    assert capsys.readouterr().err.splitlines() == [
        "0 cells are done, 2 are to be run, 1 at a time",
        "[1/2] vgg19-cifar10 small-clean seed 0: started",
    ]
