from __future__ import annotations

from pathlib import Path
from typing import Any, Dict

import pytest

from gearnn.errors import UserError
from gearnn.run_facts import check_finished, check_result, check_types

RESULT: Dict[str, Any] = {
    "arch": "vgg19", "method": "gearnn-2", "preset": "demo", "classes": ["a"], "image_size": 32, "in_chans": 3, "seed": 0,
    "clean_accuracy": 0.9, "params_seed": 1, "params_final": 2,
    "dataset": {"name": "n", "source": "s", "n_train": 1, "n_test": 1, "notes": []},
}  # fmt: skip


def test_what_a_run_writes_passes() -> None:
    check_types({"data": None, "seed": 3, "limit_train": 5, "other": object()}, Path("config.json"), needed=("seed",))
    check_result(RESULT, Path("result.json"))


@pytest.mark.parametrize(
    "config",
    [[], None, "x", {}, {"seed": "3"}, {"seed": True}, {"seed": -1}, {"seed": 3, "data": 5}, {"seed": 3, "data": "a\0"}],
)
def test_options_of_other_types_are_named(config: Any) -> None:
    with pytest.raises(UserError, match=r"config\.json"):
        check_types(config, Path("config.json"), needed=("seed",))


@pytest.mark.parametrize("name", sorted(RESULT))
def test_facts_that_are_missing_or_of_other_types_are_named(name: str) -> None:
    without = {key: value for key, value in RESULT.items() if key != name}
    for result in (without, {**RESULT, name: None}, {**RESULT, name: [None]}, {**RESULT, name: {}}):
        with pytest.raises(UserError, match=r"result\.json"):
            check_result(result, Path("result.json"))


def test_only_a_finished_run_passes(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no .*nope: give the folder"):
        check_finished(tmp_path / "nope")
    with pytest.raises(UserError, match="holds no result.json"):
        check_finished(tmp_path)
    (tmp_path / "checkpoint").mkdir()
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UserError, match="is not finished: see gearnn watch .*; if it has stopped, gearnn run --resume --out"):
        check_finished(tmp_path)
    (tmp_path / "result.json").write_text("{}")
    check_finished(tmp_path)
