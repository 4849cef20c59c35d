"""Written whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from gearnn.errors import UserError
from gearnn.files import read_json, replacing, write_json, write_text


def test_a_failed_write_leaves_the_old_file_and_no_litter(tmp_path: Path) -> None:
    path = tmp_path / "value.json"
    write_json(path, {"a": 1})
    with pytest.raises(RuntimeError), replacing(path) as temporary:
        temporary.write_text("half of it")
        raise RuntimeError
    assert read_json(path) == {"a": 1}
    assert [entry.name for entry in tmp_path.iterdir()] == ["value.json"]


def test_folders_are_made_and_unwritable_ones_named(tmp_path: Path) -> None:
    write_text(tmp_path / "new" / "deep" / "note.txt", "é\n")
    assert (tmp_path / "new" / "deep" / "note.txt").read_text(encoding="utf-8") == "é\n"
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match="cannot write"):
        write_text(tmp_path / "file" / "note.txt", "x")


def test_json_is_strict(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(tmp_path / "bad.json", float("nan"))
    (tmp_path / "torn.json").write_text('{"a": ')
    with pytest.raises(UserError, match="not valid JSON"):
        read_json(tmp_path / "torn.json")
    with pytest.raises(UserError, match="cannot read"):
        read_json(tmp_path / "absent.json")
