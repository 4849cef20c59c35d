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
