from __future__ import annotations

import sys
from pathlib import Path

import pytest

from gearnn.errors import UserError
from gearnn.tensorboard import write_events

ROWS = [{"phase": "seed", "epoch": epoch, "loss": 1 / epoch, "test_accuracy": None, "learning_rate": 0.1} for epoch in (1, 2, 3)]


def test_rows_become_curves_once_however_often_they_are_written(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    other = tmp_path / "events.out.tfevents.1.host.1.0"
    other.write_bytes(b"")
    write_events(tmp_path, ROWS)
    write_events(tmp_path, ROWS[:2])  # as after a run that went back
    assert len(list(tmp_path.iterdir())) == 2 and other.exists()
    other.unlink()
    found = EventAccumulator(str(tmp_path)).Reload()
    assert sorted(found.Tags()["scalars"]) == ["learning_rate", "loss"]
    assert [(event.step, event.value) for event in found.Scalars("loss")] == [(1, 1.0), (2, 0.5)]


def test_without_the_package_it_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(UserError, match=r"pip install 'gearnn\[train,tensorboard\]'"):
        write_events(tmp_path, ROWS)
