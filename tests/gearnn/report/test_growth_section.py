from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Callable, Dict

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


def _stepped(result: Dict[str, Any]) -> None:
    """Two steps, of which the second was taken back; and a layer's name that is markup."""
    layers = [{"name": "<i>stem</i>", "before": 8, "after": 16}, {"name": "last", "before": 16, "after": 24}]
    usage = {"name": "parameters", "unit": "", "before": 1000, "after": 2000, "limit": 2100}
    small = {"name": "latency", "unit": "ms", "before": 0.1, "after": 0.2, "limit": 3.0}
    first = {"layers": layers, "budget": [small, usage], "pays": True, "held_out_before": 0.5, "held_out_after": 0.56}
    wider = [{**layers[0], "before": 16, "after": 32}, {**layers[1], "before": 24, "after": 40}]
    second = {"layers": wider, "budget": [{**usage, "after": 4000, "limit": 4100}], "pays": False}
    second = {**second, "held_out_before": 0.56, "held_out_after": 0.55, "gain_per_doubling": -1.02, "ended": "too <little>"}
    result["growth"].update(steps=[{**first, "gain_per_doubling": 6.0}, second], bound_by="gain", output_difference=2.1e-7)


def test_every_step_is_told_with_what_it_gained(make_run: MakeRun) -> None:
    run = read_run(make_run(_stepped))
    shown = growth_section.growth(run, draw(run)).replace("\u202f", " ")
    table, widths = (re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", part) for part in shown.split("Step by step")[1].split("<details>"))
    assert table[9:18] == ["1", "kept", "parameters: 2,000 of 2,100", "24", "40", "50.0 %", "56.0 %", "+6.0", "6.0"]
    back = '<span class="loss">taken back</span>'
    assert table[18:] == ["2", back, "parameters: 4,000 of 4,100", "40", "72", "56.0 %", "55.0 %", "−1.0", "-1.0"]
    assert widths[4:] == ["&lt;i&gt;stem&lt;/i&gt;", "8", "16", "32", "last", "16", "24", "40"]
    assert "After step 2 growth ended: too &lt;little&gt;" in shown
    assert "the gain on held-out images: the last step did not pay" in shown and "changed by 2.1 × 10⁻⁷ of the largest" in shown


def test_one_step_that_nobody_judged_is_not_told_twice(make_run: MakeRun) -> None:
    run = read_run(make_run())
    assert "Step by step" not in growth_section.growth(run, draw(run))
    run = read_run(make_run(lambda result: result["growth"].update(pays=True, held_out_before=0.5, held_out_after="?")))
    shown = growth_section.growth(run, draw(run))
    assert "Step by step" in shown and shown.split("Step by step")[1].count("not measured") == 3  # after, gain, per doubling
