"""A table of made-up cells, as data, as Markdown and as pictures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Callable, Dict, List, Tuple
from xml.etree import ElementTree

import pytest

from benchmarks.evidence.cells import Cell, cells_of, error_path
from benchmarks.evidence.markdown import MISSING, count, plus_minus, render
from benchmarks.evidence.plots import draw
from benchmarks.evidence.published import PUBLISHED, SOURCE
from benchmarks.evidence.rows import rows_named
from benchmarks.evidence.scales import scale_named
from benchmarks.evidence.table import table_of

# Robust accuracy and seconds by row and seed.
FIGURES = {
    ("small-augmix", 0): (0.70, 400.0),
    ("small-augmix", 1): (0.72, 500.0),
    ("small-augmix", 2): (0.71, 400.0),
    ("gearnn-2", 0): (0.66, 100.0),
    ("gearnn-2", 1): (0.70, 100.0),
    ("gearnn-2", 2): (0.68, 100.0),
    ("gearnn-2-firefly", 0): (0.65, 200.0),
}


@pytest.fixture
def made(tmp_path: Path, make_result: Callable[..., Any]) -> Callable[[str], Tuple[List[Cell], Dict[str, Any]]]:
    """The cells and the table of a scale in which FIGURES were measured."""

    def make(scale_name: str) -> Tuple[List[Cell], Dict[str, Any]]:
        scale = scale_named(scale_name)
        arena = next(arena for arena in scale.arenas if arena.name == "vgg19-cifar10")
        cells = cells_of([arena], rows_named(["small-augmix", "gearnn-2", "gearnn-2-firefly", "ours"]), (0, 1, 2), tmp_path)
        for cell in cells:
            cell.folder.mkdir(parents=True, exist_ok=True)
            if (cell.row.name, cell.seed) in FIGURES:
                robust, seconds = FIGURES[cell.row.name, cell.seed]
                result = make_result([("clean", "train", 1, 4, seconds, 400)], robust=robust, clean=robust + 0.1)
                (cell.folder / "result.json").write_text(json.dumps(result))
                attempt = {
                    "started": f"2026-01-0{cell.seed + 1}T10:00:00+00:00",
                    "seconds": seconds + 10,
                    "load": 1.0 + cell.seed,
                    "revision": "abc1234",
                }
                (cell.folder / "attempts.json").write_text(json.dumps([attempt]))
            elif (cell.row.name, cell.seed) == ("ours", 2):
                error_path(cell).write_text("no memory\n")
        return cells, table_of(scale, cells, ["small-augmix"], ["nothing else"])

    return make


def _row(table: Dict[str, Any], name: str) -> Dict[str, Any]:
    return next(row for row in table["arenas"][0]["rows"] if row["row"] == name)


def test_rows_are_means_over_seeds_and_times_are_ratios_by_seed(made: Callable[[str], Any]) -> None:
    _, table = made("cpu-small")
    robust = _row(table, "gearnn-2")["metrics"]["robust"]
    assert (robust["mean"], robust["sd"], robust["n"]) == (pytest.approx(0.68), pytest.approx(0.02), 3)
    assert _row(table, "gearnn-2")["time_ratio"]["mean"] == pytest.approx((0.25 + 0.2 + 0.25) / 3)
    assert _row(table, "gearnn-2-firefly")["metrics"]["robust"]["sd"] is None
    assert _row(table, "gearnn-2")["metrics"]["joules"] is None


def test_differences_are_paired_by_seed(made: Callable[[str], Any]) -> None:
    _, table = made("cpu-small")
    found = {(one["row"], one["against"]): one for one in table["arenas"][0]["differences"]}
    against = found["gearnn-2", "small-augmix"]
    # −0.04, −0.02, −0.03: sd 0.01, half width 4.3027 · 0.01 / √3
    assert against["robust"]["mean"] == pytest.approx(-0.03)
    assert against["robust"]["high"] == pytest.approx(-0.03 + 0.02484, abs=1e-5)
    assert found["gearnn-2-firefly", "gearnn-2"]["one_thing"] is True
    assert found["gearnn-2-firefly", "gearnn-2"]["robust"]["n"] == 1
    assert found["gearnn-2-firefly", "gearnn-2"]["time_ratio"]["mean"] == 2.0


def test_a_partial_table_says_what_is_missing(made: Callable[[str], Any]) -> None:
    _, table = made("cpu-small")
    assert (table["cells"]["asked"], table["cells"]["done"], len(table["cells"]["not_done"])) == (12, 7, 4)
    assert table["cells"]["failed"] == [{"cell": "vgg19-cifar10 ours seed 2", "reason": "no memory"}]
    text = render(table)
    assert "7 of 12 cells are done" in text
    assert "**Partial: 4 cells" in text
    assert "no memory" in text
    assert "- Left out: nothing else" in text


def test_the_table_is_json_and_tells_no_paths(made: Callable[[str], Any]) -> None:
    _, table = made("cpu-small")
    assert "/somewhere/private" not in json.dumps(table, allow_nan=False)


def test_conditions_cover_all_cells(made: Callable[[str], Any]) -> None:
    _, table = made("cpu-small")
    conditions = table["conditions"]
    assert (conditions["from"], conditions["to"]) == ("2026-01-01T10:00:00+00:00", "2026-01-03T10:06:50+00:00")
    assert conditions["wall_seconds"] == 1800.0 + 70
    assert conditions["load"] == {"least": 1.0, "most": 3.0}
    assert len(conditions["devices"]) == 1
    assert conditions["revisions"] == ["abc1234"]
    assert "a CPU, 2 cores" in render(table)
    assert "- Source: abc1234" in render(table)


def test_markdown_shows_means_spread_and_what_was_not_measured(made: Callable[[str], Any]) -> None:
    _, table = made("cpu-small")
    lines = render(table).splitlines()
    row = next(line for line in lines if line.startswith("| `gearnn-2` |"))
    assert "| 3 | 78.0 ± 2.0 | 68.0 ± 2.0 | 1,000 | 100 | 100 | 0.23 ± 0.03 |" in row
    assert any(line.startswith("| `gearnn-2` |") and MISSING in line for line in lines)
    assert (
        "| `gearnn-2` | `small-augmix` | 3 | -3.0 (-5.5 to -0.5) | -3.0 (-5.5 to -0.5) | × 0.23 ± 0.03 | × 0.23 ± 0.03 |" in lines
    )
    assert "second-hand" not in render(table)


def test_published_figures_are_beside_and_marked_second_hand(made: Callable[[str], Any]) -> None:
    _, table = made("paper")
    text = render(table)
    assert "**second-hand**" in text
    line = next(line for line in text.splitlines() if line.startswith("| Quadro RTX 6000 | Small(D_aug)"))
    assert (
        line == "| Quadro RTX 6000 | Small(D_aug) | – | 85.73 | 215 | – | `small-augmix` | 81.0 ± 1.0 | 71.0 ± 1.0 | 7.2 ± 1.0 |"
    )
    assert "85.73\\*" in text  # on the Jetson it follows from other figures
    assert all(figures["source"] == SOURCE == "second-hand" for figures in table["arenas"][0]["published"])


def test_published_figures_belong_to_rows_and_arenas_that_exist() -> None:
    arenas = {(arena.arch, arena.data) for arena in scale_named("paper").arenas}
    assert all((figures.arch, figures.data) in arenas for figures in PUBLISHED)
    assert len(rows_named([figures.row for figures in PUBLISHED])) == 4


def test_numbers_for_people() -> None:
    assert [count(value) for value in (999, 12345.4, 25_216_256)] == ["999", "12,345", "25.22 M"]
    assert plus_minus(None, count) == MISSING
    assert plus_minus({"mean": 5.0, "sd": None, "n": 1}, count) == "5"


def test_pictures_are_svg_on_their_own_ground(made: Callable[[str], Any], tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    _, table = made("cpu-small")
    names = draw(table, tmp_path)
    assert len(names) == 3
    for name in names:
        text = (tmp_path / name).read_text(encoding="utf-8")
        assert ElementTree.fromstring(text).tag.endswith("svg")
        assert "#f6f6f3" in text
        assert "@font-face" not in text
        assert "@import" not in text
        assert "GEARnn-2, grown: Firefly" in text
    again = (tmp_path / names[0]).read_bytes()
    draw(table, tmp_path)
    assert (tmp_path / names[0]).read_bytes() == again
    assert f"]({names[0]})" in render(table, names)
