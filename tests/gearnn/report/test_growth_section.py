from __future__ import annotations

import re
from pathlib import Path
from typing import Callable

from gearnn.report import growth_section
from gearnn.report.charts import draw
from gearnn.report.record import read_run

MakeRun = Callable[..., Path]


def test_growth_says_what_bound_it(make_run: MakeRun) -> None:
    run = read_run(make_run())
    shown = growth_section.growth(run, draw(run)).replace("\u202f", " ")
    assert (
        "752 → 1,056 of 1,064 (99.2 %)" in shown
        and "31.0 MB → 42.0 MB of 50.0 MB (84.0 %)" in shown
        and "the budget of summed widths" in shown
    )
    assert "predicted 42.0 MB, measured 43.0 MB" in shown and "osg" in shown
    run = read_run(make_run(lambda result: result["growth"].update(bound_by="candidates", fixed={"stem": "reused twice"})))
    shown = growth_section.growth(run, draw(run))
    assert "all were taken before" in shown and "Channels of stem left as they were" in shown


def test_the_budget_that_bound_growth_is_marked(make_run: MakeRun) -> None:
    run = read_run(make_run())
    shown = growth_section.growth(run, draw(run))
    assert shown.count("bound growth") == 1 and shown.count('class="gauge"') == 1
    bound = shown.split('class="gauge bound"')[1]
    assert re.findall(r"width:([0-9.]+)%", bound)[:2] == ["99.2", "70.7"]  # 1,056 and 752 of 1,064


def test_a_bar_is_never_longer_than_its_budget(make_run: MakeRun) -> None:
    def over(result):  # type: ignore[no-untyped-def]
        result["growth"]["budget"][0].update(before=5000, after=9000)
        result["growth"]["budget"][1].update(limit=0)

    run = read_run(make_run(over))
    widths = re.findall(r"width:([0-9.]+)%", growth_section.growth(run, draw(run)))
    assert widths == ["100.0", "100.0"]


def test_every_layer_is_tabulated(make_run: MakeRun) -> None:
    run = read_run(make_run())
    shown = growth_section.growth(run, draw(run))
    assert "<summary>All 14 layers in figures</summary>" in shown
    assert re.findall(r">([^<]+)</t[hd]>", shown)[6:12] == ["features.0.0", "8", "24", "3", "13", "3.0"]


def test_without_growth_nothing_is_invented(tmp_path: Path) -> None:
    (tmp_path / "result.json").write_text("{}", encoding="utf-8")
    run = read_run(tmp_path)
    assert growth_section.growth(run, draw(run)).count("ot measured") == 4
