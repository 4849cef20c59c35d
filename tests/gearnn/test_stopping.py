"""Signals end a run between two steps."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Dict, List, Tuple

import pytest

from gearnn.cli import main
from gearnn.progress import no_progress
from gearnn.stopping import Stopped, stopping


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_the_step_is_finished_first(number: int, code: int, capfd: pytest.CaptureFixture) -> None:
    before, told = signal.getsignal(number), []
    with pytest.raises(Stopped) as stopped, stopping(lambda *step: told.append(step)) as progress:
        os.kill(os.getpid(), number)
        progress("era", 3, 3)  # the last step goes on to where it saves
        progress("era", 1, 3)
        told.append("not reached")
    assert told == [("era", 3, 3), ("era", 1, 3)]
    assert stopped.value.exit_code == code
    assert signal.getsignal(number) is before
    assert "second Ctrl-C" in capfd.readouterr().err


def test_the_second_signal_leaves_at_once() -> None:
    script = (
        "import os, signal; from gearnn.stopping import stopping; from gearnn.progress import no_progress\n"
        "with stopping(no_progress):\n    os.kill(os.getpid(), 2)\n    os.kill(os.getpid(), 2)\nprint('not reached')"
    )
    done = subprocess.run([sys.executable, "-c", script], check=False, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (130, "")


def test_other_threads_keep_their_callers_signals() -> None:
    found = []

    def elsewhere() -> None:
        with stopping(no_progress) as progress:
            found.append((progress, signal.getsignal(signal.SIGTERM)))

    before, thread = signal.getsignal(signal.SIGTERM), threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert found == [(no_progress, before)]


def _signalled(command: List[str], number: int, metrics: Path, rows: int) -> Tuple[int, str, str]:
    """Exit code, standard output and error of a command that gets a signal once ``metrics`` has so many rows; 0: gets none."""
    with subprocess.Popen(
        [sys.executable, "-m", *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=_environment()
    ) as process:
        end = time.monotonic() + 120
        while number and process.poll() is None and time.monotonic() < end:
            if metrics.exists() and len(metrics.read_text().splitlines()) >= rows:
                process.send_signal(number)
                break
            time.sleep(0.02)
        output, errors = process.communicate(timeout=120)
    return process.returncode, output, errors


def _environment() -> Dict[str, str]:
    return {**{name: value for name, value in os.environ.items() if name != "GEARNN_DATA"}, "OMP_NUM_THREADS": "1"}


def test_the_command_that_is_printed_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    folder = tmp_path / "a run"
    options = "--preset plain --method fixed --arch mobilenet_v1 --limit-train 128 --limit-test 20 --seed-width 0.125 --threads 1"
    command = ["gearnn", "run", *options.split(), "--epochs.seed", "16", "--epochs.era", "0", "--out", str(folder)]
    command += ["--optimizer.batch-size", "32", "--augmentation.pad", "1"]
    first = command[2:]
    for number, rows in ((signal.SIGINT, 2), (signal.SIGTERM, 6), (0, 0)):
        code, output, errors = _signalled(command, number, folder / "metrics.jsonl", rows)
        assert "Traceback" not in errors
        if number:
            assert (code, output) == (128 + number, "")
            told = re.findall(r"^stopped by SIG(?:INT|TERM); go on from the last finished epoch with `(.*)`$", errors, re.M)
            assert len(told) == 1, errors
            command = shlex.split(told[0])
            (folder / "checkpoint" / ".last.safetensors.x.part").write_bytes(b"half")
            assert command == ["gearnn", "run", *first, "--resume"]
    assert code == 0, errors
    metrics = [json.loads(row) for row in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in metrics] == list(range(1, 17))
    assert (folder / "result.json").exists()
    assert list(folder.rglob(".*")) == []  # what was half-written is swept
    assert "Whole run" in output

    capsys.readouterr()
    assert main(["run", *first]) == 2
    cure = f"continue it with `{shlex.join(command)}`, or choose another --out"
    assert capsys.readouterr().err == f"error: there is a run in {folder} already: {cure}\n"

    (folder / "config.json").unlink()
    assert main(command[1:]) == 2
    cure = "restore that, or choose another --out"
    assert capsys.readouterr().err == f"error: {folder} holds a run without its config.json: {cure}\n"


def test_what_is_stopped_before_training_is_started_anew(
    tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(config: object, progress: object, say: object) -> None:
        raise Stopped(signal.SIGTERM)

    monkeypatch.setattr("gearnn.pipeline.run", run)
    assert main(["run", "--out", str(tmp_path / "x")]) == 143
    told = f"stopped by SIGTERM before training had begun; start again with `gearnn run --out {tmp_path / 'x'}`\n"
    assert capsys.readouterr().err.endswith(told)
