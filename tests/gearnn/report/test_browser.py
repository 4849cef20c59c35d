"""The page in a real browser, at desktop and phone width, light and dark."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Tuple

import pytest

from gearnn.report import write_report
from gearnn.report.charts import draw
from gearnn.report.comparison import read_runs, render
from gearnn.report.record import read_run

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
DESKTOP, PHONE = 1280, 390
MARKS = {"heatmap": ".heatmaplayer image", "bar": ".point path", "scatter": ".scatter .point, .scatter .js-line"}

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    driver = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install 'gearnn[dev]'")
    with driver.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


def opened(browser: Any, path: Path, width: int = DESKTOP, scheme: str = "light") -> Tuple[Any, List[str]]:
    """The page with all of its charts drawn, and what went to the console or to the network."""
    for earlier in browser.contexts:
        earlier.close()
    view = browser.new_context(viewport={"width": width, "height": 844}, color_scheme=scheme, offline=True)
    page, said = view.new_page(), []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: said.append(request.url) if not request.url.startswith(("file:", "data:")) else None)
    page.goto(path.as_uri())
    page.wait_for_selector("html[data-drawn]", state="attached")
    return page, said


def marks(page: Any) -> Dict[str, int]:
    """How many marks of its kind each chart shows."""
    found = {}
    for place in page.query_selector_all(".chart"):
        kinds = set(place.evaluate("element => element.data.map(trace => trace.type)"))
        assert len(kinds) == 1
        found[place.get_attribute("id").split("-", 1)[1]] = len(place.query_selector_all(MARKS[kinds.pop()]))
    return found


@pytest.mark.parametrize("width", [DESKTOP, PHONE])
@pytest.mark.parametrize(("scheme", "ink"), [("light", "rgb(27, 35, 48)"), ("dark", "rgb(228, 233, 240)")])
def test_every_chart_has_data(browser: Any, make_run: Callable[..., Path], width: int, scheme: str, ink: str) -> None:
    folder = make_run()
    page, said = opened(browser, write_report(folder), width, scheme)
    assert said == []
    charts = draw(read_run(folder))
    found = marks(page)
    assert list(found) and set(found) == set(charts) and len(charts) == 11
    assert all(found.values()), found
    assert page.evaluate("document.documentElement.scrollWidth") <= width  # nothing sticks out at the side
    assert page.evaluate("getComputedStyle(document.body).color") == ink
    drawn = "".join(place.inner_html() for place in page.query_selector_all(".chart"))
    assert ink in drawn and "var(--" not in drawn  # every colour was found in the style sheet


def test_labels_of_phases_do_not_lie_on_each_other_or_on_the_curves(browser: Any, make_run: Callable[..., Path]) -> None:
    folder = make_run()
    rows = [{"phase": name, "test_accuracy": 0.9, "loss": 1.0} for name in ("seed", *["regrow"] * 2, *["era"] * 17)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    for width in (DESKTOP, PHONE):
        page, said = opened(browser, write_report(folder), width)
        plot = page.query_selector("#chart-accuracy .shapelayer path").bounding_box()  # a phase, as high as the plot
        boxes = [label.bounding_box() for label in page.query_selector_all("#chart-accuracy .annotation-text")]
        assert said == [] and len(boxes) == 4
        for index, box in enumerate(boxes):
            assert box["y"] + box["height"] <= plot["y"] + 3
            for other in boxes[:index]:
                apart = box["x"] >= other["x"] + other["width"] or other["x"] >= box["x"] + box["width"]
                assert apart or abs(box["y"] - other["y"]) >= 12


def test_tables_fit_on_a_phone(browser: Any, make_run: Callable[..., Path]) -> None:
    page, _ = opened(browser, write_report(make_run()), PHONE)
    page.evaluate("document.querySelectorAll('details').forEach((folded) => { folded.open = true; })")
    sizes = page.evaluate("[...document.querySelectorAll('.scroll')].map((table) => [table.scrollWidth, table.clientWidth])")
    assert len(sizes) > 4 and all(inner <= outer for inner, outer in sizes), sizes
    captions = "[...document.querySelectorAll('.thumbs figcaption')].filter((name) => name.scrollWidth > name.clientWidth).length"
    assert page.evaluate(captions) == 0
    assert page.evaluate("getComputedStyle(document.querySelector('.wide td'), '::before').content") == '"Parameters"'


def test_images_appear_over_the_heat_map(browser: Any, make_run: Callable[..., Path]) -> None:
    page, said = opened(browser, write_report(make_run()))
    assert not page.is_visible("#glimpse")
    page.evaluate("document.getElementById('chart-corruptions').scrollIntoView({block: 'center'})")
    box = page.query_selector("#chart-corruptions .heatmaplayer image").bounding_box()
    page.mouse.move(box["x"] + box["width"] * 2.5 / 6, box["y"] + box["height"] * 9.5 / 16)  # fog at severity 3
    page.wait_for_selector("#glimpse:not([hidden])")
    pictures = json.loads(page.evaluate("document.getElementById('pictures').textContent"))
    assert page.get_attribute("#glimpse [data-which=corrupted]", "src") == pictures["9,2"]
    assert page.get_attribute("#glimpse [data-which=clean]", "src") == pictures["clean"]
    assert page.evaluate("document.querySelector('#glimpse [data-which=corrupted]').naturalWidth") == 32
    page.mouse.move(box["x"] + box["width"] * 5.5 / 6, box["y"] + box["height"] * 9.5 / 16)  # a mean has no image
    page.wait_for_selector("#glimpse", state="hidden")
    assert said == []


def test_the_page_opens_within_two_seconds(browser: Any, make_run: Callable[..., Path]) -> None:
    path = write_report(make_run())
    page = browser.new_context(viewport={"width": DESKTOP, "height": 844}).new_page()
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable")
    page.goto(path.as_uri())
    # Processor time, as other work on the machine must not decide.
    taken = {entry["name"]: entry["value"] for entry in session.send("Performance.getMetrics")["metrics"]}["ProcessTime"]
    assert 0.01 < taken < 2


def test_charts_follow_the_scheme(browser: Any, make_run: Callable[..., Path]) -> None:
    page, said = opened(browser, write_report(make_run()))
    accents = ["rgb(31, 95, 158)", "rgb(111, 176, 238)"]
    assert accents[0] in page.inner_html("#chart-time") and accents[1] not in page.inner_html("#chart-time")
    page.evaluate("delete document.documentElement.dataset.drawn")
    page.emulate_media(color_scheme="dark")
    page.wait_for_selector("html[data-drawn]", state="attached")
    assert accents[1] in page.inner_html("#chart-time") and accents[0] not in page.inner_html("#chart-time")
    assert said == []


def test_paper_is_light_and_cuts_nothing(browser: Any, make_run: Callable[..., Path], tmp_path: Path) -> None:
    page, said = opened(browser, write_report(make_run()), scheme="dark")
    shown = page.query_selector("#chart-time .main-svg").bounding_box()["width"]
    page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    accents = ["rgb(31, 95, 158)", "rgb(111, 176, 238)"]
    assert accents[0] in page.inner_html("#chart-time") and accents[1] not in page.inner_html("#chart-time")
    page.emulate_media(media="print")
    for width in (688, 500):  # A4 between its margins, and a smaller page
        page.set_viewport_size({"width": width, "height": 900})
        assert width < 688 or page.evaluate("document.documentElement.scrollWidth") <= width
        for place in page.query_selector_all(".chart"):
            outer = place.bounding_box()
            for svg in place.query_selector_all(".main-svg"):
                box = svg.bounding_box()
                assert box["x"] >= outer["x"] - 0.5 and box["x"] + box["width"] <= outer["x"] + outer["width"] + 0.5
                assert box["height"] <= outer["height"] + 0.5
    page.emulate_media(media="screen")
    page.set_viewport_size({"width": DESKTOP, "height": 844})
    page.evaluate("delete document.documentElement.dataset.drawn; window.dispatchEvent(new Event('afterprint'))")
    page.wait_for_selector("html[data-drawn]", state="attached")
    page.wait_for_function(f"Math.abs(document.querySelector('#chart-time .main-svg').clientWidth - {shown}) < 1")
    assert accents[1] in page.inner_html("#chart-time") and said == []
    page.pdf(path=str(tmp_path / "report.pdf"), format="A4")
    assert (tmp_path / "report.pdf").read_bytes().startswith(b"%PDF")


def test_data_cannot_run_as_a_script(browser: Any, make_run: Callable[..., Path]) -> None:
    attack = "<img src=x onerror=document.body.id='owned'><a href='https://example.org'>x</a>"

    def plant(result: Dict[str, Any]) -> None:
        result["classes"] = [attack] * 10
        result["per_class"][0].update({"class": attack, "named": {attack: 30, "1": 6}})
        result["width_layers"][0] = attack
        result["phases"][0]["name"] = attack
        result["dataset"]["name"] = attack
        result["engine"]["layers"][0].update(modules=[attack], op=attack)
        result["growth"]["budget"][0]["name"] = attack
        for entry in result["networks"]:
            entry["label"] = attack
            entry["robustness"]["per_corruption"] = {attack: [0.5] * 5}

    page, said = opened(browser, write_report(make_run(plant)))
    assert said == [] and all(marks(page).values())
    written = re.sub(r"<script.*?</script>", "", page.content(), flags=re.DOTALL)
    assert 'id="owned"' not in written and '<a href="https://' not in written and '<img src="x"' not in written


@pytest.mark.parametrize("width", [DESKTOP, PHONE])
def test_runs_are_compared(browser: Any, make_run: Callable[..., Path], tmp_path: Path, width: int) -> None:
    runs = read_runs([make_run(), make_run(lambda result: result.update(arch="vgg19"), "a-run-with-a-rather-long-name")])
    path = tmp_path / "compare.html"
    path.write_text(render(runs), encoding="utf-8")
    page, said = opened(browser, path, width, "dark")
    assert said == [] and page.evaluate("document.documentElement.scrollWidth") <= width
    found = marks(page)
    assert set(found) == {"trade-latency", "trade-size", "test-accuracy", "loss", "corruptions"} and all(found.values())
