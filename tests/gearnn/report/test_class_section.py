from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Callable, Dict, List

from gearnn.report.charts import draw
from gearnn.report.class_section import classes
from gearnn.report.record import read_run

MakeRun = Callable[..., Path]


def shown(folder: Path) -> str:
    run = read_run(folder)
    return classes(run, draw(run)).replace("\u202f", " ")


def rows(page: str) -> List[List[str]]:
    return [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row) for row in re.findall(r"<tr>(.*?)</tr>", page)][1:]


def test_each_class_with_what_it_is_taken_for(make_run: MakeRun) -> None:
    page = shown(make_run())
    assert rows(page)[0] == ["0", "36", "33", "91.7 %", "1 (3)"] and rows(page)[1] == ["1", "36", "36", "100.0 %", "–"]
    assert 'id="chart-confusion"' in page


def test_of_many_classes_the_worst_come_first(make_run: MakeRun) -> None:
    def many(result: Dict[str, Any]) -> None:
        result["per_class"] = [
            {"class": f"class {place}", "images": 50, "right": place, "named": {f"class {place}": place}} for place in range(40)
        ] + [{"class": "none", "images": 0, "right": 0, "named": {}}]

    page = shown(make_run(many))
    found = rows(page)
    assert [row[0] for row in found[:12]] == [f"class {place}" for place in range(12)] and "chart-confusion" not in page
    assert "All 41 classes" in page and rows(page)[-1] == ["none", "0", "0", "–", "–"]


def test_older_runs_did_not_measure_it(make_run: MakeRun) -> None:
    assert "Not measured: no accuracies per class" in shown(make_run(lambda result: result.pop("per_class")))
