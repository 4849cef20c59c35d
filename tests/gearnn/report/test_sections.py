from __future__ import annotations

import re
from pathlib import Path
from typing import Callable, List

from gearnn.report import sections
from gearnn.report.charts import draw
from gearnn.report.page import render
from gearnn.report.record import read_run

MakeRun = Callable[..., Path]


def rows(markup: str) -> List[List[str]]:
    """Cells of a table as plain text."""
    plain = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row) for row in re.findall(r"<tr.*?</tr>", markup)]
    return [[re.sub(r"<[^>]+>", "", cell).replace("\u202f", " ") for cell in row] for row in plain]


def test_networks_are_compared_with_the_baseline(make_run: MakeRun) -> None:
    run = read_run(make_run())
    shown = sections.networks(run, draw(run))
    head, seed, _, final, baseline = rows(shown)
    assert head[:6] == ["Network", "Parameters", "Clean", "Robust", "Clean vs. baseline", "Robust vs. baseline"]
    assert seed[:3] == ["seed network", "60,418", "96.9 %"]
    assert final[4] == "−0.6" and final[5].startswith("+")
    assert baseline[4:6] == ["–", "–"]
    assert head[6] == "Latency" and seed[6] == "0.251 ms"
    assert 'class="marked"><th scope="row">grown network, after ERA' in shown


def test_without_a_baseline_there_are_no_differences(make_run: MakeRun) -> None:
    run = read_run(make_run(lambda result: result["networks"].pop()))
    assert "vs. baseline" not in sections.networks(run, draw(run)) and "not measured" in sections.networks(run, draw(run))


def test_an_unmeasured_network_is_shown_as_such(make_run: MakeRun) -> None:
    run = read_run(make_run(lambda result: result["networks"][0].update(clean_accuracy=float("nan"), params="many")))
    assert rows(sections.networks(run, draw(run)))[1][1:3] == ["not measured", "not measured"]


def test_intervals_and_calibration_are_shown_where_they_were_measured(make_run: MakeRun) -> None:
    run = read_run(make_run())
    shown = sections.robustness(run, draw(run)).replace("\u202f", " ")
    assert "Clean accuracy, 95 %</dt><dd>96.4 % to 99.2 %<" in shown and "Calibration error (ECE), clean</dt><dd>2.1 %<" in shown
    assert "Robust accuracy, 95 %" not in shown and "(ECE), robust" not in shown


def test_options_are_flat_and_readable(make_run: MakeRun) -> None:
    found = dict(sections.flat(read_run(make_run()).config))
    assert found["budget.growth_ratio"] == "1.8" and found["budget.params"] == "not set" and found["baseline"] == "yes"
    assert dict(sections.flat({"a": [1, 2], "b": [], "c": {}})) == {"a": "1, 2", "b": "none", "c": "none"}


def test_a_bare_result_is_not_measured_everywhere(tmp_path: Path) -> None:
    (tmp_path / "result.json").write_text("{}", encoding="utf-8")
    run = read_run(tmp_path)
    drawn = draw(run)
    bare = [sections.configuration(run), sections.surroundings(run)]
    bare += [part(run, drawn) for part in (sections.networks, sections.training, sections.robustness)]
    for shown in bare:
        assert "ot measured" in shown


def test_without_a_baseline_its_absence_is_told_once(make_run: MakeRun) -> None:
    run = read_run(make_run(lambda result: result["networks"].pop()))
    page = render(run)
    assert len(re.findall("[Nn]o baseline", page[: page.index('id="figures"')])) == 1
    shown = sections.robustness(run, draw(run))
    assert "chart-corruptions" in shown and 'class="pair"' not in shown and "chart-difference" not in shown
    assert 'class="pair"' in sections.robustness(read_run(make_run()), draw(read_run(make_run())))


def test_data_are_shown_without_detours(make_run: MakeRun) -> None:
    run = read_run(make_run(lambda result: result["dataset"].update(source="image folders in /tmp/x/../photos")))
    assert "<dt>data</dt><dd>image folders in /tmp/photos</dd>" in sections.surroundings(run)
    assert "<dt>data</dt>" in sections.surroundings(read_run(make_run(lambda result: result.update(dataset={}))))
