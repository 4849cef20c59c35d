from __future__ import annotations

import re
from pathlib import Path
from typing import Callable, List

from gearnn.report import cost_sections
from gearnn.report.charts import draw
from gearnn.report.record import read_run

MakeRun = Callable[..., Path]


def rows(markup: str) -> List[List[str]]:
    """Cells of the first table as plain text."""
    plain = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row) for row in re.findall(r"<tr.*?</tr>", markup)]
    return [[re.sub(r"<[^>]+>", "", cell).replace("\u202f", " ") for cell in row] for row in plain]


def test_phases_and_latencies_are_tabulated(make_run: MakeRun) -> None:
    run = read_run(make_run())
    era = rows(cost_sections.time(run, draw(run)))[4]
    assert era == ["era", "40", "4", "57,480", "2 min 51 s", "336", "771 MB", "3.7 kJ"]
    assert rows(cost_sections.engine(run, draw(run)))[1] == ["1", "0.412 ms", "0.455 ms", "0.731 ms", "2,427", "2,391", "200"]
    assert "3.1 × 10⁻⁶" in cost_sections.engine(run, draw(run))


def test_energy_without_a_meter_is_missing(make_run: MakeRun) -> None:
    def unmetered(result):  # type: ignore[no-untyped-def]
        for phase in result["phases"]:
            phase["joules"] = None

    run = read_run(make_run(unmetered))
    shown = cost_sections.time(run, draw(run))
    assert "no power meter" in shown and 'id="chart-energy"' not in shown and rows(shown)[1][-1] == "not measured"


def test_layers_that_were_not_timed_are_missing(make_run: MakeRun) -> None:
    run = read_run(make_run())
    assert "read the shares" in cost_sections.engine(run, draw(run))
    run = read_run(make_run(lambda result: result["engine"].pop("layers")))
    shown = cost_sections.engine(run, draw(run))
    assert "Not measured: no times per layer" in shown and "read the shares" not in shown


def test_the_time_plan_sets_planned_beside_spent(make_run: MakeRun) -> None:
    def planned(result):  # type: ignore[no-untyped-def]
        result["time_plan"] = {"limit": 600, "prepared": 12.0, "end": {"planned_seconds": 100.0, "wall_seconds": 90.0}}
        result["phases"][0].update(planned_seconds=20.0, wall_seconds=25.0, name="<seed>")
        result["seconds_total"] = 594.0

    run = read_run(make_run(planned))
    shown = cost_sections.time(run, draw(run)).replace("\u202f", " ").split("Time plan")[1]
    cells = re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", shown)
    assert cells[4:12] == ["before training", "–", "12 s", "–", "&lt;seed&gt;", "20 s", "25 s", "125.0 %"]
    assert cells[-8:-4] == ["measurements and report", "1 min 40 s", "1 min 30 s", "90.0 %"]
    assert cells[-4:] == ["whole run", "10 min 00 s", "9 min 54 s", "99.0 %"]
    assert cells[12:16] == ["growth", *2 * ['<span class="missing">not measured</span>'], "–"]
    run = read_run(make_run())
    assert "Time plan" not in cost_sections.time(run, draw(run))
