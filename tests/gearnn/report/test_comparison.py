from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Callable

import pytest

from gearnn.errors import UserError
from gearnn.report.comparison import differences, figures, read_runs, render

MakeRun = Callable[..., Path]


def test_figures_of_each_run(make_run: MakeRun) -> None:
    def bare(result):  # type: ignore[no-untyped-def]
        result.clear()

    first, second = figures(read_runs([make_run(), make_run(bare, "bare")]))
    assert first["name"] == "run" and first["arch"] == "mobilenet_v1" and first["clean_accuracy"] == 0.9833
    assert first["latency_ms_p50"] == 0.412 and first["onnx_bytes"] == 441_000 and first["params"] == 107_930
    assert first["joules"] == pytest.approx(21.5 * (21.4 + 9.8 + 19.6 + 171.2 + 148.9)) and first["ready"] is True
    assert {value for key, value in second.items() if key not in ("name", "folder")} == {None}
    assert json.loads(json.dumps([first, second], allow_nan=False)) == [first, second]


def test_energy_counts_only_if_every_phase_was_metered(make_run: MakeRun) -> None:
    unmetered = make_run(lambda result: result["phases"][1].pop("joules"), "unmetered")
    assert [one["joules"] is None for one in figures(read_runs([make_run(), unmetered]))] == [False, True]


def test_only_options_that_differ_are_told(make_run: MakeRun) -> None:
    first, second = make_run(), make_run(name="second")
    config = json.loads((second / "config.json").read_text(encoding="utf-8"))
    config.update(out="elsewhere", seed=3, grower="osg")
    config["epochs"]["era"] = 7
    (second / "config.json").write_text(json.dumps(config), encoding="utf-8")
    runs = read_runs([first, second])
    assert differences(runs) == {"seed": ["0", "3"], "epochs.era": ["40", "7"], "grower": [None, "osg"]}
    page = render(runs)
    assert "<code>epochs.era</code>" in page and "<code>epochs.regrow</code>" not in page
    assert "the options are the same" in render(read_runs([first, make_run(name="third")]))


def test_names_are_what_tells_the_folders_apart(make_run: MakeRun, tmp_path: Path) -> None:
    folders = [make_run(name=name) for name in ("x",)]
    for name in ("a/seed-0", "b/seed-0", "b/seed-1"):
        folder = tmp_path / name
        folder.mkdir(parents=True)
        (folder / "result.json").write_text("{}", encoding="utf-8")
        folders.append(folder)
    assert [name for name, _ in read_runs(folders[1:3])] == ["a", "b"]
    assert [name for name, _ in read_runs(folders[1:])] == ["a/seed-0", "b/seed-0", "b/seed-1"]
    assert [name for name, _ in read_runs([folders[0], folders[3]])] == ["x", "seed-1"]


def test_what_cannot_be_compared_is_told_in_a_sentence(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run()
    for folders, told in (
        ([run], "at least two"),
        ([run, run], "named twice"),
        ([run, run / ".." / run.name], "named twice"),
        ([run, tmp_path], "not a finished run"),
        ([run, tmp_path / "none"], "not a finished run"),
    ):
        with pytest.raises(UserError, match=told) as caught:
            read_runs(folders)
        assert "\n" not in str(caught.value)


def test_different_test_images_are_not_passed_over(make_run: MakeRun) -> None:
    same = render(read_runs([make_run(), make_run(name="same")]))
    assert "do not compare" not in same and "98.3" in same
    other = make_run(lambda result: result["dataset"].update(n_test=10), "other")
    assert "different test images" in render(read_runs([make_run(), other]))


@pytest.mark.parametrize("leaf", [None, "text", {"a": 1}, [2], True, -1.5, 0])
def test_leaves_of_the_wrong_type_do_not_stop_the_page(make_run: MakeRun, monkeypatch: pytest.MonkeyPatch, leaf: Any) -> None:
    def wrong(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: wrong(entry) for key, entry in value.items()}
        return [wrong(entry) for entry in value] if isinstance(value, list) else leaf

    broken = make_run(lambda result: result.update({key: wrong(value) for key, value in result.items()}), "broken")
    monkeypatch.setattr("gearnn.report.page._plotly", lambda: "")
    assert "2 runs" in render(read_runs([make_run(), broken]))


def test_what_came_from_data_is_escaped(make_run: MakeRun) -> None:
    hostile = "</script><img src=x onerror=alert(1)>"
    folder = make_run(lambda result: result.update(arch=hostile), "<i>name")
    page = render(read_runs([folder, make_run()]))
    assert hostile not in page and "<i>name" not in page and "&lt;i&gt;name" in page
