"""One self-contained HTML page per run: what was asked, what came out, and how it got there."""

from __future__ import annotations

from pathlib import Path

__all__ = ["describe", "write_report"]


def write_report(run_dir: Path) -> Path:
    """Write ``report.html`` of a run folder; the page needs no network and no other file.

    What the run folder does not hold is shown as "not measured".

    Args:
        run_dir: folder with result.json and, where there are any, config.json, metrics.jsonl and examples.npz.

    Returns:
        Path of the page.

    Raises:
        UserError: if result.json is missing or unreadable, plotly is not installed, or the folder cannot be written to.
    """
    from gearnn.files import write_text
    from gearnn.report.page import render
    from gearnn.report.record import read_run

    path = Path(run_dir) / "report.html"
    write_text(path, render(read_run(Path(run_dir))))
    return path


def describe(run_dir: Path) -> str:
    """The run in a few plain sentences: size, accuracies on the engine, difference to the baseline, latency.

    Raises:
        UserError: if result.json is missing or unreadable.
    """
    from gearnn.report.headline import summary
    from gearnn.report.record import read_run

    return summary(read_run(Path(run_dir)))
