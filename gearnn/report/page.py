"""Puts sections, charts, style and plotly together into one file."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from pathlib import Path
from string import Template
from typing import Sequence

from gearnn.errors import UserError
from gearnn.report import sections
from gearnn.report.headline import headline
from gearnn.report.markup import Html, escape, join
from gearnn.report.pictures import examples
from gearnn.report.record import Run, text

HERE = Path(__file__).parent


def render(run: Run) -> str:
    """The page of a run as HTML.

    Scripts run only if their hash is in the page's content-security policy; nothing may be loaded from anywhere.

    Raises:
        UserError: if plotly is not installed.
    """
    plotly = _plotly()
    charts = sections.draw(run)
    figures = {f"chart-{name}": chart.figure for name, chart in charts.items() if chart is not None}
    body = join(
        [
            headline(run),
            sections.networks(run),
            sections.training(run, charts),
            sections.growth(run, charts),
            sections.robustness(run, charts),
            sections.time(run, charts),
            sections.engine(run),
            examples(run),
            sections.notes(run),
            sections.configuration(run),
            sections.surroundings(run),
        ],
        "\n",
    )
    template = (HERE / "template.html").read_text(encoding="utf-8")
    scripts = [plotly, *(script for script in re.findall(r"<script>(.*?)</script>", template, re.DOTALL) if script != "$plotly")]
    page = Template(template).substitute(
        policy=policy(scripts),
        title=escape(f"{text(run.result.get('arch')) or 'Run'} on {text(run.part('dataset').get('name')) or 'unnamed data'}"),
        style=(HERE / "page.css").read_text(encoding="utf-8"),
        body=body,
        figures=embedded(figures),
        plotly=plotly,
    )
    # A path may hold bytes that are no text; they must not keep the page from being written.
    return page.encode("utf-8", "replace").decode("utf-8")


def policy(scripts: Sequence[str]) -> Html:
    """A content-security policy under which these inline scripts run, and nothing is fetched or sent."""
    hashes = (base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode("ascii") for script in scripts)
    allowed = " ".join(f"'sha256-{digest}'" for digest in hashes)
    # plotly writes style elements and attributes; everything that came from data is escaped.
    return Html(
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
    )


def embedded(value: object) -> Html:
    """JSON that cannot end the script element it stands in."""
    return Html(json.dumps(value, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c").replace(">", "\\u003e"))


def _plotly() -> str:
    """The source of plotly.js from plotly's Python package, its line ends as an HTML parser will see them."""
    try:
        from plotly.offline import get_plotlyjs
    except ImportError as error:
        raise UserError("the report needs plotly: pip install 'gearnn[report]'") from error
    source: str = get_plotlyjs()
    return source.replace("\r\n", "\n").replace("\r", "\n")
