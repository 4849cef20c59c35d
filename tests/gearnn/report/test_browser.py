"""The page in a real browser."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any, Callable, Dict, Tuple

import pytest

from gearnn.report import write_report
from gearnn.report.record import read_run
from gearnn.report.sections import draw

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-dev-shm-usage --disable-quic --no-first-run --disable-sync "
    "--disable-background-networking --disable-component-update --enable-logging=stderr --virtual-time-budget=20000"
)

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")


def opened(page: Path, profile: Path, *flags: str) -> Tuple[str, str]:
    """The document after its scripts ran, without them, and what the console said."""
    command = [str(CHROMIUM), *FLAGS.split(), f"--user-data-dir={profile}", *flags, "--dump-dom", page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    document = re.sub(r"<script.*?</script>", "", done.stdout, flags=re.DOTALL)
    return document, "\n".join(line for line in done.stderr.splitlines() if "CONSOLE" in line)


@pytest.mark.parametrize("scheme", [0, 1], ids=["dark", "light"])
def test_every_chart_is_drawn_without_a_word_from_the_console(make_run: Callable[..., Path], tmp_path: Path, scheme: int) -> None:
    folder = make_run()
    document, console = opened(write_report(folder), tmp_path / "profile", f"--blink-settings=preferredColorScheme={scheme}")
    assert console == ""
    charts = draw(read_run(folder))
    assert len(charts) == 6 and document.count("js-plotly-plot") >= 6 and document.count('class="main-svg"') >= 6
    parts = re.split(r'<div id="chart-', document)[1:]
    assert [part.split('"')[0] for part in parts] == list(charts)
    marks = {"accuracy": "js-line", "loss": "js-line", "widths": 'class="point"', "corruptions": "heatmap-label"}
    for part in parts:
        assert marks.get(part.split('"')[0], 'class="point"' if part.startswith("time") else "heatmap-label") in part
        assert "var(--" not in part  # every colour was found in the style sheet
    accents = ["rgb(111, 176, 238)", "rgb(31, 95, 158)"]
    assert accents[scheme] in document and accents[1 - scheme] not in document


def test_data_cannot_run_as_a_script(make_run: Callable[..., Path], tmp_path: Path) -> None:
    attack = "<img src=x onerror=document.body.id='owned'><a href='https://example.org'>x</a>"

    def plant(result: Dict[str, Any]) -> None:
        result["classes"] = [attack] * 10
        result["width_layers"][0] = attack
        result["phases"][0]["name"] = attack
        result["dataset"]["name"] = attack

    document, console = opened(write_report(make_run(plant)), tmp_path / "profile")
    assert console == ""
    assert 'id="owned"' not in document and '<a href="https://' not in document and '<img src="x"' not in document
    assert document.count("js-plotly-plot") >= 6
