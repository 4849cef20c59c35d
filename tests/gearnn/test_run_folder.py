"""What a run is gone on with."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from gearnn.cli import main
from gearnn.config import Optimizer, RunConfig, to_dict
from gearnn.errors import UserError
from gearnn.files import write_json
from gearnn.pipeline import run
from gearnn.presets import PRESETS, preset, resolved
from gearnn.run_folder import as_begun, config_of


@pytest.mark.parametrize("name", PRESETS)
def test_options_come_back_as_they_were_written(name: str, tmp_path: Path) -> None:
    config = resolved(dataclasses.replace(preset(name), data=tmp_path, out=tmp_path / "run", memory_limit="1GiB", shots=2))
    write_json(tmp_path / "config.json", to_dict(config))
    assert config_of(tmp_path) == config
    assert resolved(config_of(tmp_path)) == config


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sede": 1}, "no option 'sede'"),
        ({"arch": 3}, "arch is 3"),
        ({"shots": "many"}, "shots is 'many'"),
        ({"epochs": 3}, "Epochs is 3"),
        ({"epochs": {"seed": "3"}}, "seed is '3'"),
        ({"resume": 1}, "resume is 1"),
    ],
)
def test_options_that_no_run_writes_are_refused(changes: Any, message: str, tmp_path: Path) -> None:
    write_json(tmp_path / "config.json", {**to_dict(RunConfig()), **changes})
    with pytest.raises(UserError, match=message):
        config_of(tmp_path)


def test_data_and_batch_size_are_those_of_the_run_where_none_are_named(tmp_path: Path) -> None:
    begun = RunConfig(data=tmp_path, out=tmp_path, optimizer=Optimizer(batch_size=16))
    write_json(tmp_path / "config.json", to_dict(begun))
    assert as_begun(RunConfig(out=tmp_path), tmp_path) == RunConfig(out=tmp_path)
    assert as_begun(RunConfig(out=tmp_path, resume=True), tmp_path) == dataclasses.replace(begun, resume=True)
    named = RunConfig(data=tmp_path / "x", out=tmp_path, resume=True, optimizer=Optimizer(batch_size=32))
    assert as_begun(named, tmp_path) == named


class _InterruptedError(Exception):
    pass


def test_resume_needs_the_folder_alone(tiny_config: RunConfig, tiny_run: Path, capsys: pytest.CaptureFixture) -> None:
    config = dataclasses.replace(tiny_config, data=tiny_run.parent / "gratings.npz")
    whole = dataclasses.replace(config, out=Path(str(config.out)) / "whole")
    cut = dataclasses.replace(config, out=Path(str(config.out)) / "cut")
    run(whole)

    def stop(label: str, done: int, total: int) -> None:
        if label == "era":
            raise _InterruptedError

    with pytest.raises(_InterruptedError):
        run(cut, stop)
    assert main(["report", str(cut.out)]) == 2
    again = f"see gearnn watch {cut.out}; if it has stopped, gearnn run --resume --out {cut.out}"
    assert capsys.readouterr().err == f"error: the run in {cut.out} is not finished: {again}\n"
    assert main(["run", "--resume", "--out", str(cut.out), "--seed", "7"]) == 2
    assert "other options (seed)" in capsys.readouterr().err
    assert main(["run", "--resume", "--out", str(cut.out)]) == 0
    weights = [(Path(str(one.out)) / "model.safetensors").read_bytes() for one in (whole, cut)]
    assert weights[0] == weights[1]
    saved = json.loads((Path(str(cut.out)) / "config.json").read_text())
    assert saved["grower"] == "osg" and saved["epochs"] == {"seed": 2, "regrow": 1, "era": 2}
