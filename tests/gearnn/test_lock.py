"""One process per run folder."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from gearnn import lock
from gearnn.errors import UserError
from gearnn.lock import NAME, locked


def test_the_second_is_told_who_the_first_is(tmp_path: Path) -> None:
    with locked(tmp_path / "run"):
        holder = json.loads((tmp_path / "run" / NAME).read_text())
        with pytest.raises(UserError, match=f"process {holder['pid']} on {holder['host']}, since"), locked(tmp_path / "run"):
            pass
    assert not (tmp_path / "run").exists()  # nothing was done in it
    with locked(tmp_path / "run"):
        (tmp_path / "run" / "kept").write_text("x")
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["kept"]


@pytest.mark.parametrize("flock", [True, False])
def test_a_killed_process_leaves_no_lock(flock: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    setting = "" if flock else "lock._flock = lambda handle: None;"
    script = f"from pathlib import Path; from gearnn import lock; import os, sys;{setting} w = lock.locked(Path(sys.argv[1])); "
    script += "w.__enter__(); os.kill(os.getpid(), 9)"
    assert subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=False).returncode == -9
    assert (tmp_path / NAME).exists()
    if not flock:
        monkeypatch.setattr(lock, "_flock", lambda handle: None)
    with locked(tmp_path):
        assert json.loads((tmp_path / NAME).read_text())["pid"] == os.getpid()


def test_without_flock_another_hosts_lock_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "_flock", lambda handle: None)
    (tmp_path / NAME).write_text(json.dumps({"pid": 1, "host": "elsewhere", "since": "then", "started": "1"}))
    with pytest.raises(UserError, match="on elsewhere"), locked(tmp_path):
        pass


@pytest.mark.parametrize("pid", [10**30, 2**31])
def test_a_number_that_no_process_has_is_a_stale_lock(pid: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "_flock", lambda handle: None)
    (tmp_path / NAME).write_text(json.dumps({"pid": pid, "host": socket.gethostname(), "since": "then", "started": "1"}))
    with locked(tmp_path):
        assert json.loads((tmp_path / NAME).read_text())["pid"] == os.getpid()
