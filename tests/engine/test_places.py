from __future__ import annotations

from pathlib import Path

import pytest

from gearnn.engine.errors import EngineError
from gearnn.engine.places import network_at, unfinished


def _interrupted(folder: Path) -> Path:
    (folder / "checkpoint").mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    return folder


def test_a_run_folder_stands_for_its_network_and_a_file_for_itself(tmp_path: Path) -> None:
    model = tmp_path / "model.onnx"
    model.write_bytes(b"onnx")
    assert network_at(tmp_path) == network_at(str(model)) == model


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nope", r"there is no .*nope: give a run folder, an \.onnx file or an engine$"),
        ("nope.zip", r"there is no .*nope\.zip: check the path, or make a bundle with gearnn bundle RUN --out .*nope\.zip$"),
        ("there.zip", r"there\.zip is packed: .* unzip it"),
        ("folder", r"there is no network in .*folder, as it holds no model\.onnx"),
        (
            "a run",
            r"a run is not finished: see gearnn watch '.*a run'; if it has stopped, gearnn run --resume --out '.*a run'$",
        ),
    ],
)
def test_what_is_no_network_is_told_apart(name: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "there.zip").write_bytes(b"zip")
    _interrupted(tmp_path / "a run")
    with pytest.raises(EngineError, match=message):
        network_at(tmp_path / name)


def test_only_a_run_without_its_result_is_unfinished(tmp_path: Path) -> None:
    folder = _interrupted(tmp_path / "run")
    assert unfinished(folder) == (
        f"the run in {folder} is not finished: see gearnn watch {folder}; if it has stopped, gearnn run --resume --out {folder}"
    )
    (folder / "result.json").write_text("{}")
    assert unfinished(folder) is None
    assert unfinished(tmp_path) is None
