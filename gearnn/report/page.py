"""Puts sections, charts, style and plotly together into one file."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from pathlib import Path
from string import Template
from typing import List, Mapping, Optional, Sequence

from gearnn.errors import UserError
from gearnn.report import charts, cost_sections, sections
from gearnn.report.charts import Charts
from gearnn.report.class_section import classes
from gearnn.report.growth_section import growth
from gearnn.report.headline import headline
from gearnn.report.markup import Content, Html, escape, join
from gearnn.report.pictures import examples, hover_pictures
from gearnn.report.record import Run, text

HERE = Path(__file__).parent


def render(run: Run) -> str:
    """The page of a run as HTML.

    Raises:
        UserError: if plotly is not installed.
    """
    drawn = charts.draw(run)
    body: List[Content] = [
        headline(run),
        sections.networks(run, drawn),
        sections.training(run, drawn),
        growth(run, drawn),
        classes(run, drawn),
        sections.robustness(run, drawn),
        cost_sections.engine(run, drawn),
        cost_sections.time(run, drawn),
        examples(run),
        sections.notes(run),
        sections.configuration(run),
        sections.surroundings(run),
    ]
    title = f"{text(run.result.get('arch')) or 'Run'} on {text(run.part('dataset').get('name')) or 'unnamed data'}"
    return assemble(title, body, drawn, hover_pictures(run))


def assemble(title: str, body: Sequence[Content], drawn: Charts, pictures: Optional[Mapping[str, str]] = None) -> str:
    """A page of sections and charts.

    Scripts run only if their hash is in the page's content-security policy; nothing may be loaded from anywhere.

    Args:
        pictures: ``data:`` URIs to show over the heat maps, by "row,column"; "clean" is shown beside each.
    """
    plotly = _plotly()
    template = (HERE / "template.html").read_text(encoding="utf-8")
    scripts = [plotly, *re.findall(r"<script>(.*?)</script>", template, re.DOTALL)]
    page = Template(template).substitute(
        policy=policy(scripts),
        title=escape(title),
        style=(HERE / "page.css").read_text(encoding="utf-8"),
        body=join(body, "\n"),
        figures=embedded({f"chart-{name}": chart.figure for name, chart in drawn.items() if chart is not None}),
        pictures=embedded(dict(pictures or {})),
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
