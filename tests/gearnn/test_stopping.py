"""Signals end a run between two steps."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

import pytest

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
