"""``gearnn compare-runs``: several runs on one page."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import List, Tuple

import tyro
from typing_extensions import Annotated

from gearnn.commands.parsing import parse, print_json


@dataclass(frozen=True)
class CompareRunsArguments:
    """One page for two runs or more: figures, trade-offs, curves, corruptions side by side, and how their settings differ.

    Examples:

      gearnn compare-runs runs/a runs/b

      gearnn compare-runs runs/a runs/b runs/c --out compare.html --json
    """

    runs: Annotated[Tuple[Path, ...], tyro.conf.Positional]
    """Run folders."""
    out: Path = Path("compare.html")
    """Where the page is written."""
    seed: int = 0
    """Taken by every command; here nothing is drawn, so it changes nothing."""
    device: str = "auto"
    """Taken by every command; writing a page uses none, so it changes nothing."""
    json: bool = False
    """Print the figures and the differing options as JSON."""


def main(arguments: List[str]) -> int:
    """Write the page and say where it is."""
    options = parse(CompareRunsArguments, arguments, "compare-runs")
    from gearnn.files import write_text
    from gearnn.report.comparison import differences, figures, read_runs, render

    runs = read_runs(options.runs)
    write_text(options.out, render(runs))
    if options.json:
        print_json({"report": str(options.out), "runs": figures(runs), "options": differences(runs)})
    else:
        print(options.out)
    return 0
