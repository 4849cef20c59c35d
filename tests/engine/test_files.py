from __future__ import annotations

from pathlib import Path

import pytest

from gearnn.engine.errors import EngineError
from gearnn.engine.files import write_bytes


def test_writes_and_replaces(tmp_path):
    path = tmp_path / "new" / "file"
    write_bytes(path, b"first")
    write_bytes(path, b"second")
    assert path.read_bytes() == b"second"
    assert list(path.parent.iterdir()) == [path]


def test_leaves_the_old_file_when_the_disk_is_full(tmp_path, monkeypatch):
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(EngineError, match="cannot write .*file .No space left on device"):
        write_bytes(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_where_a_folder_should_be(tmp_path):
    (tmp_path / "taken").write_bytes(b"")
    with pytest.raises(EngineError, match="cannot write"):
        write_bytes(tmp_path / "taken" / "file", b"content")
