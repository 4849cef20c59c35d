"""Rows: every one can be asked for."""

from __future__ import annotations

import pytest

from benchmarks.evidence.rows import ROWS, rows_named
from gearnn.errors import UserError
from gearnn.presets import PRESETS


def test_rows_start_from_presets_that_exist_and_are_held_against_rows_that_exist() -> None:
    for row in ROWS.values():
        assert row.preset in PRESETS
        assert row.against is None or row.against in ROWS
        assert row.against != row.name
        assert all(name in ROWS and not ROWS[name].needs for name in row.needs)


def test_what_a_row_needs_comes_before_it_and_once() -> None:
    names = [row.name for row in rows_named(["gearnn-2", "gearnn-1-equal-time", "small-clean"])]
    assert names == ["gearnn-2", "gearnn-1", "gearnn-1-equal-time", "small-clean"]


def test_all_is_every_row() -> None:
    assert {row.name for row in rows_named(["all"])} == set(ROWS)


def test_unknown_rows_are_named() -> None:
    with pytest.raises(UserError, match="no row called 'gearnn-3'"):
        rows_named(["gearnn-3"])
