"""Cells: folders, command lines, states."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Callable, List

import pytest

from benchmarks.evidence.cells import (
    Cell,
    arguments_of,
    cells_of,
    check_same,
    each_once,
    error_path,
    finished,
    home,
    results_beside,
    with_options,
)
from benchmarks.evidence.rows import ROWS, Row, rows_named
from benchmarks.evidence.scales import SCALES, scale_named
from gearnn.commands.parsing import parse
from gearnn.commands.run import RunArguments
from gearnn.config import RunConfig, check, to_dict
from gearnn.errors import UserError
from gearnn.phases import phases_of
from gearnn.presets import preset, resolved

DATA = {"cifar10": Path("images"), "cifar100": Path("images"), "tiny-imagenet": Path("images")}
CPU_SMALL = scale_named("cpu-small")


def _cell(out: Path, row: str = "small-augmix", seed: int = 1) -> Cell:
    return cells_of(CPU_SMALL.arenas, [ROWS[row]], [seed], out)[0]


def _arguments(cell: Cell) -> List[str]:
    found = arguments_of(cell, CPU_SMALL, DATA, {})
    assert found is not None
    return found


def _config(arguments: List[str]) -> RunConfig:
    chosen = preset(arguments[arguments.index("--preset") + 1])
    return resolved(parse(RunArguments, arguments, "run", RunArguments(chosen)).config)


def test_seeds_are_outermost_so_that_rows_are_interleaved(tmp_path: Path) -> None:
    cells = cells_of(CPU_SMALL.arenas, rows_named(["small-clean", "small-era"]), (0, 1), tmp_path)
    assert [(cell.row.name, cell.seed) for cell in cells] == [
        ("small-clean", 0),
        ("small-era", 0),
        ("small-clean", 1),
        ("small-era", 1),
    ]


def test_a_command_line_word_by_word(tmp_path: Path) -> None:
    expected = (
        "--preset small-augmix --arch vgg19 --data images --seed-width 0.0625 --budget.params 1255546 --budget.macs 25216256 "
        "--limit-train 20000 --limit-test 2000 --threads 1 --epochs.seed 0 --epochs.era 12 --device cpu "
        "--growth.new-candidates 96 --seed 1 "
        f"--out {tmp_path}/cells/vgg19-cifar10/small-augmix/seed-1"
    )
    assert _arguments(_cell(tmp_path)) == expected.split()


def test_a_rows_own_budget_takes_the_place_of_the_arenas(tmp_path: Path) -> None:
    arguments = _arguments(_cell(tmp_path, "gearnn-2-gamma-0.3"))
    assert "--budget.params" not in arguments
    assert arguments[arguments.index("--budget.growth-ratio") + 1] == "0.3"


def test_full_size_networks_keep_their_size(tmp_path: Path) -> None:
    arguments = _arguments(_cell(tmp_path, "big"))
    assert "--seed-width" not in arguments
    assert not any(word.startswith("--budget") for word in arguments)


@pytest.mark.parametrize("name", SCALES)
def test_gearnn_understands_every_command(name: str, tmp_path: Path) -> None:
    scale = scale_named(name)
    rows = [row for row in ROWS.values() if row.equal is None]
    for cell in cells_of(scale.arenas[:1], rows, [0], tmp_path):
        arguments = arguments_of(cell, scale, DATA, {})
        assert arguments is not None
        config = _config(arguments)
        check(config)
        assert phases_of(config)
        assert config.seed == 0


def test_rows_that_ask_for_the_same_share_a_run(tmp_path: Path) -> None:
    same = Row("same", "paper", "the preset's own grower", {"grower": preset("paper").grower})
    other = Row("other", "paper", "another", {"grower": "net2net"})
    assert home(same).name == home(ROWS["gearnn-2"]).name == "gearnn-2"
    assert home(other).name == "gearnn-2-net2net"
    assert home(ROWS["gearnn-2-views-3"]).name == "gearnn-2-views-3"
    assert home(ROWS["clean-then-era-equal-time"]).name == "clean-then-era-equal-time"
    cells = cells_of(CPU_SMALL.arenas, [ROWS["gearnn-2"], same, other], [0], tmp_path)
    assert [cell.row.name for cell in each_once(cells)] == ["gearnn-2", "other"]


def test_states_follow_the_files(tmp_path: Path) -> None:
    cell = _cell(tmp_path)
    assert cell.state == "missing"
    cell.folder.mkdir(parents=True)
    (cell.folder / "log.txt").write_text("killed before it began")
    assert cell.state == "missing"
    (cell.folder / "config.json").write_text("{}")
    assert cell.state == "started"
    error_path(cell).write_text("no memory")
    assert cell.state == "failed"
    (cell.folder / "result.json").write_text("{}")
    assert cell.state == "done"


def _saved(cell: Cell, **changes: Any) -> None:
    cell.folder.mkdir(parents=True)
    plain = to_dict(_config(_arguments(cell)))
    (cell.folder / "config.json").write_text(json.dumps({**plain, **changes}))


def test_the_same_options_are_the_same_wherever_the_data_lie(tmp_path: Path) -> None:
    cell = _cell(tmp_path)
    _saved(cell, data="/elsewhere", out="/moved", resume=True)
    check_same(cell, _arguments(cell))


def test_a_cell_that_was_run_otherwise_is_refused_by_the_options_name(tmp_path: Path) -> None:
    cell = _cell(tmp_path)
    _saved(cell)
    path = cell.folder / "config.json"
    plain = json.loads(path.read_text())
    plain["epochs"]["era"] = 60
    path.write_text(json.dumps(plain))
    with pytest.raises(UserError, match=r"--epochs\.era 60.* 12"):
        check_same(cell, _arguments(cell))
    path.write_text("[]")
    with pytest.raises(UserError, match="not a run's configuration"):
        check_same(cell, _arguments(cell))


def test_options_that_did_not_exist_yet_count_as_todays_default(tmp_path: Path) -> None:
    cell = _cell(tmp_path)
    _saved(cell)
    path = cell.folder / "config.json"
    plain = json.loads(path.read_text())
    del plain["optimizer"]["consistency"], plain["shots"]
    path.write_text(json.dumps(plain))
    check_same(cell, _arguments(cell))


def _changed(cell: Cell, part: str, **changes: Any) -> None:
    path = cell.folder / "config.json"
    plain = json.loads(path.read_text())
    plain[part].update(changes)
    path.write_text(json.dumps(plain))


def test_a_batch_size_that_the_run_chose_is_not_another_option(tmp_path: Path) -> None:
    cell = _cell(tmp_path)
    _saved(cell)
    assert json.loads((cell.folder / "config.json").read_text())["optimizer"]["batch_size"] is None
    _changed(cell, "optimizer", batch_size=128)
    check_same(cell, _arguments(cell))
    with pytest.raises(UserError, match="--optimizer.batch-size 128.* 64"):
        check_same(cell, [*_arguments(cell), "--optimizer.batch-size", "64"])


def test_options_of_what_a_run_does_without_do_not_matter_to_it(tmp_path: Path) -> None:
    clean, robust, one = (_cell(tmp_path, row) for row in ("small-clean", "small-augmix", "gearnn-1"))
    for cell in (clean, robust, one):
        _saved(cell, grower=preset("paper").grower)
    _changed(clean, "augmentation", views=9)
    _changed(clean, "epochs", regrow=99)
    _changed(robust, "growth", batches=99)
    _changed(one, "epochs", era=99)
    for cell in (clean, robust, one):
        check_same(cell, _arguments(cell))
    _changed(robust, "augmentation", views=9)
    with pytest.raises(UserError, match="--augmentation.views 9"):
        check_same(robust, _arguments(robust))
    _changed(one, "growth", batches=99)
    with pytest.raises(UserError, match="--growth.batches 99"):
        check_same(one, _arguments(one))


@pytest.mark.parametrize("content", ['{"networks": [', "[]", "{}", '{"networks": []}'])
def test_torn_results_are_named(content: str, tmp_path: Path) -> None:
    cell = _cell(tmp_path)
    cell.folder.mkdir(parents=True)
    (cell.folder / "result.json").write_text(content)
    with pytest.raises(UserError, match="result.json is torn"):
        finished(cell)


def test_only_finished_cells_of_the_same_seed_decide_lengths(tmp_path: Path, make_result: Callable[..., Any]) -> None:
    cells = cells_of(CPU_SMALL.arenas, rows_named(["gearnn-1-equal-time"]), (0, 1), tmp_path)
    done = next(cell for cell in cells if cell.row.name == "gearnn-2" and cell.seed == 1)
    done.folder.mkdir(parents=True)
    (done.folder / "result.json").write_text(json.dumps(make_result()))
    equal = {cell.seed: cell for cell in cells if cell.row.name == "gearnn-1-equal-time"}
    assert results_beside(equal[0], cells) == {}
    assert list(results_beside(equal[1], cells)) == ["gearnn-2"]
    assert arguments_of(equal[1], CPU_SMALL, DATA, results_beside(equal[1], cells)) is None


def test_threads_and_device_can_be_named() -> None:
    changed = with_options(CPU_SMALL, 4, None)
    assert (changed.threads, changed.device) == (4, "cpu")
    assert with_options(CPU_SMALL, None, "cuda").device == "cuda"
