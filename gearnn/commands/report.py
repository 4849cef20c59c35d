"""``gearnn report``: the page of a run, written anew."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import List

import tyro
from typing_extensions import Annotated

from gearnn.commands.parsing import parse, print_json


@dataclass(frozen=True)
class ReportArguments:
    """Write report.html of a run folder from the files in it.

    Examples:

      gearnn report runs/demo

      gearnn report runs/photos --json
    """

    run: Annotated[Path, tyro.conf.Positional]
    """Run folder."""
    seed: int = 0
    """Taken by every command; here nothing is drawn, so it changes nothing."""
    device: str = "auto"
    """Taken by every command; writing a page uses none, so it changes nothing."""
    json: bool = False
    """Print where the page is as JSON."""


def main(arguments: List[str]) -> int:
    """Write the page and say where it is."""
    options = parse(ReportArguments, arguments, "report")
    from gearnn.report import write_report
    from gearnn.run_facts import check_finished

    check_finished(options.run)
    page = write_report(options.run)
    if options.json:
        print_json({"report": str(page)})
    else:
        print(page)
    return 0
