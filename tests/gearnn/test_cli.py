"""The command line as a user meets it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import List

import pytest

from gearnn.cli import COMMANDS, main


def _exit_code(arguments: List[str]) -> int:
    try:
        return main(arguments)
    except SystemExit as stopped:
        return int(stopped.code or 0)


def test_overview_names_every_command(capsys: pytest.CaptureFixture) -> None:
    assert _exit_code(["--help"]) == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in COMMANDS)


ON_AN_ENGINE = ("build", "predict")  # the runtime says where it executes


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_an_example_and_the_common_options(command: str, capsys: pytest.CaptureFixture) -> None:
    assert _exit_code([command, "--help"]) == 0
    shown = capsys.readouterr().out
    assert f"gearnn {command}" in shown.split("options", 1)[0].split("usage", 1)[1].split("\n", 1)[1]
    common = ("--json", "--runtime") if command in ON_AN_ENGINE else ("--json", "--seed", "--device")
    assert all(option in shown for option in common)


def test_wrong_commands_and_options_exit_with_2(capsys: pytest.CaptureFixture) -> None:
    assert _exit_code(["evalute"]) == 2
    assert "did you mean 'evaluate'" in capsys.readouterr().err
    assert _exit_code(["run", "--sede", "1"]) == 2
    assert _exit_code(["run", "--seed", "many"]) == 2
    assert _exit_code(["run", "--preset", "fast"]) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "--data", "nowhere/at/all"], "nowhere/at/all"),
        (["run", "--arch", "vgg-19"], "did you mean vgg19"),
        (["run", "--device", "cuda:9"], "CUDA"),
        (["run", "--device", "toaster"], "no device called"),
        (["run", "--threads", "0"], "--threads"),
        (["run", "--seed-width", "-1"], "above 0"),
        (["run", "--seed", "-1"], "--seed must be 0 or more"),
        (["run", "--optimizer.learning-rate", "nan"], "--optimizer.learning-rate must be above 0"),
        (["run", "--optimizer.batch-size", "1"], "at least 2"),
        (["run", "--augmentation.severity", "99"], "--augmentation"),
        (["run", "--growth.round-to", "20000"], "--growth.round-to"),
        (["demo", "--budget.growth-ratio", "nan"], "--budget.growth-ratio"),
        (["profile", "absent.onnx", "--seed", "-1"], "--seed must be 0 or more"),
        (["run", "--resume"], "no run to resume"),
        (["run", "--epochs.seed", "0"], "at least 1 epoch"),
        (["demo", "--optimizer.batch-size", "5000"], "5000"),
        (["demo", "--budget.params", "10"], "buys no growth: the network has"),
        (["evaluate", "absent.onnx"], "absent.onnx"),
        (["export", "absent.safetensors"], "absent.safetensors"),
        (["profile", "absent.onnx"], "absent.onnx"),
        (["profile", "absent.onnx", "--device", "cuda"], "leave out --device"),
        (["report", "absent"], "absent"),
        (["info", "--device", "toaster"], "no device called"),
        (["bench", "augment", "--sizes", "2"], "--sizes must be at least 8"),
        (["bench", "augment", "--data", "absent"], "absent"),
        (["bench", "score", "--threads", "0"], "--threads must be at least 1"),
        (["bench", "score", "--device", "toaster"], "no device called"),
    ],
)
def test_mistakes_get_one_sentence_and_exit_code_2(
    arguments: List[str], message: str, capsys: pytest.CaptureFixture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GEARNN_DATA", raising=False)
    assert _exit_code(arguments) == 2
    shown = capsys.readouterr().err
    assert message in shown
    errors = [line for line in shown.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert "Traceback" not in shown


def test_a_preset_on_the_demo_is_that_preset(monkeypatch: pytest.MonkeyPatch) -> None:
    from gearnn.commands import demo
    from gearnn.presets import preset

    seen = []
    monkeypatch.setattr(demo, "execute", lambda options, *called: seen.append(options.config) or 0)
    assert _exit_code(["demo", "--preset", "quick"]) == 0
    assert _exit_code(["demo"]) == 0
    assert [config.epochs for config in seen] == [preset("quick").epochs, preset("demo").epochs]


def test_info_as_json(capsys: pytest.CaptureFixture) -> None:
    assert _exit_code(["info", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["versions"]["gearnn"]
    assert facts["parts"]["train"]["ready"] is True
    assert facts["device"]["cores"] >= 1
    assert facts["kernels"]["numba"]["ready"] is True
    assert set(facts["kernels"]) == {"numba", "cuda", "cupy", "reference"}


def test_a_reader_that_leaves_is_no_error() -> None:
    """As in ``gearnn run --help | head``."""
    process = subprocess.Popen([sys.executable, "-m", "gearnn", "run", "--help"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()
    with process.stderr:
        assert process.stderr.read() == b""
    assert process.wait() == 141
