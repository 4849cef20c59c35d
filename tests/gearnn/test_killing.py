"""Runs that are killed and resumed end in the same bits."""

from __future__ import annotations

from pathlib import Path

import pytest

from gearnn.kill_test import torture


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gearnn-2", "muon-hold"])
def test_five_kills_change_nothing(name: str, tmp_path: Path) -> None:
    found = torture(name, 5, 0, tmp_path)
    assert found["differs"] == {}
    assert len(found["kills"]) == 5
    assert all(kill["lost_epochs"] <= 1 for kill in found["kills"])
