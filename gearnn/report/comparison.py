"""One page for several runs: their figures, trade-offs, curves and corruptions side by side, and how their options differ."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

from gearnn.errors import UserError
from gearnn.report.curves import curves_of_runs
from gearnn.report.formats import count, duration, joules, milliseconds, percent, size
from gearnn.report.headline import accuracy
from gearnn.report.heat import side_by_side
from gearnn.report.markup import Content, Html, join, table, tag
from gearnn.report.page import assemble
from gearnn.report.plots import Chart
from gearnn.report.readiness import checks, verdict
from gearnn.report.record import Run, number, read_run, text
from gearnn.report.scatter import Point, trade_off
from gearnn.report.sections import figure, flat, section

Named = Sequence[Tuple[str, Run]]


def read_runs(folders: Sequence[Path]) -> Named:
    """Runs with their names: the folder's, with as much of the path before it as tells it from the others.

    Raises:
        UserError: for fewer than two folders, one folder twice, or a folder that holds no run.
    """
    if len(folders) < 2:
        raise UserError("a comparison needs at least two run folders: name another one, or use gearnn report for a single run")
    found = [Path(folder).resolve() for folder in folders]
    twice = next((folder for place, folder in enumerate(found) if folder in found[:place]), None)
    if twice is not None:
        raise UserError(f"{twice} is named twice: name different run folders")
    for folder in folders:
        if not (Path(folder) / "result.json").is_file():
            raise UserError(f"{folder} is not a finished run, as it holds no result.json: name the folder that gearnn run wrote")
    return list(zip(_names(found), map(read_run, found)))


def _names(folders: Sequence[Path]) -> List[str]:
    """What tells the folders apart: the ends of their paths, without a part in which all of them end."""
    parts = [folder.parts for folder in folders]
    while len({path[-1] for path in parts}) == 1 and min(map(len, parts)) > 1:
        parts = [path[:-1] for path in parts]
    for length in range(1, max(map(len, parts)) + 1):
        names = ["/".join(path[-length:]) for path in parts]
        if len(set(names)) == len(names):
            return names
    return [str(folder) for folder in folders]


def figures(runs: Named) -> List[Dict[str, Any]]:
    """What is compared, JSON-ready, None where it was not measured: accuracies as fractions, ms, bytes, seconds, joules."""
    return [
        {
            "name": name,
            "folder": str(run.folder),
            "ready": {"Ready": True, "Not ready": False}.get(verdict(checks(run))),
            **{key: text(run.result.get(key)) for key in ("arch", "method", "preset", "seed")},
            "data": text(run.part("dataset").get("name")),
            "test_images": _whole(run.part("dataset").get("n_test")),
            "params": _whole(run.result.get("params_final")),
            "clean_accuracy": accuracy(run, "clean"),
            "robust_accuracy": accuracy(run, "robust"),
            "latency_ms_p50": number(run.part("engine").get("latency_ms_p50")),
            "onnx_bytes": _whole(run.part("engine").get("onnx_bytes")),
            "seconds": number(run.result.get("seconds_total")),
            "joules": _energy(run),
        }
        for name, run in runs
    ]


def differences(runs: Named) -> Dict[str, List[Optional[str]]]:
    """Options in which the runs differ, as written; None where a run's configuration does not have one."""
    written = [dict(flat(run.config)) for _, run in runs]
    names = list(dict.fromkeys(name for options in written for name in options if name not in ("out", "resume")))
    rows = {name: [options.get(name) for options in written] for name in names}
    return {name: row for name, row in rows.items() if len(set(row)) > 1}


def render(runs: Named) -> str:
    """The page as HTML."""
    compared = figures(runs)
    drawn = _draw(runs, compared)
    body: List[Content] = [
        _head(compared),
        _table(compared),
        section(
            "What accuracy costs",
            "The final network of each run. Filled marks are robust accuracy, hollow ones clean; up and to the left is better.",
            _pair(
                figure(drawn["trade-latency"], "no run's latency and accuracy are both known"),
                figure(drawn["trade-size"], "no run's size and accuracy are both known"),
            ),
        ),
        section(
            "Training",
            "Epochs are counted over all phases but the baseline's; losses compare only where phases and views are the same.",
            _pair(
                figure(drawn["test-accuracy"], "no accuracies in any metrics.jsonl"),
                figure(drawn["loss"], "no losses in any metrics.jsonl"),
            ),
        ),
        section(
            "Robustness",
            "The final network of each run under each corruption. " + _origins(runs),
            figure(drawn["corruptions"], "no accuracies per corruption in any result.json"),
        ),
        _options(runs),
        _notes(runs),
    ]
    return assemble(f"{len(runs)} runs compared", body, drawn)


def _draw(runs: Named, compared: Sequence[Mapping[str, Any]]) -> Mapping[str, Optional[Chart]]:
    points = [
        Point(one["name"], one["clean_accuracy"], one["robust_accuracy"], one["latency_ms_p50"], one["onnx_bytes"], one["params"])
        for one in compared
    ]
    by_latency, by_size = trade_off(points)
    return {
        "trade-latency": by_latency,
        "trade-size": by_size,
        "test-accuracy": curves_of_runs(runs, "test_accuracy", "Test accuracy by epoch", percent=True),
        "loss": curves_of_runs(runs, "loss", "Training loss by epoch", percent=False),
        "corruptions": side_by_side([(name, run.final) for name, run in runs]),
    }


def _head(compared: Sequence[Mapping[str, Any]]) -> Html:
    best = _best(compared)
    told: List[Content] = [
        f"{best['name']} is the most robust, right on {percent(best['robust_accuracy'])} of the corrupted images."
        if best
        else "No run's robust accuracy was measured."
    ]
    if len({(one["data"], one["test_images"]) for one in compared}) > 1:
        told.append(" The runs were judged on different test images, so their accuracies do not compare.")
    return tag(
        "header",
        tag("p", "gearnn runs", class_="overline"),
        tag("h1", f"{len(compared)} runs ", tag("span", "compared")),
        tag("p", " · ".join(one["name"] for one in compared), class_="asked"),
        tag("p", *told, class_="summary"),
    )


def _best(compared: Sequence[Mapping[str, Any]]) -> Optional[Mapping[str, Any]]:
    known = [one for one in compared if one["robust_accuracy"] is not None]
    return max(known, key=lambda one: one["robust_accuracy"], default=None)


def _table(compared: Sequence[Mapping[str, Any]]) -> Html:
    ready = {True: "yes", False: "no", None: "not known"}
    rows: List[Sequence[Content]] = [
        [
            one["name"],
            one["arch"],
            one["data"],
            percent(one["clean_accuracy"]),
            percent(one["robust_accuracy"]),
            milliseconds(one["latency_ms_p50"]),
            size(one["onnx_bytes"]),
            count(one["params"]),
            duration(one["seconds"]),
            joules(one["joules"]),
            ready[one["ready"]],
        ]
        for one in compared
    ]
    head = ["Run", "Network", "Data", "Clean", "Robust", "Latency", "Size", "Parameters", "Time", "Energy", "Ready"]
    marked = [place for place, one in enumerate(compared) if one is _best(compared)]
    lead = "Accuracies, latency and size of the final network, each on its engine; time of the whole run, energy of its phases."
    return section("Figures", lead, table(head, rows, text_columns=3, marked=marked))


def _options(runs: Named) -> Html:
    rows: List[Sequence[Content]] = [
        [tag("code", name), *("–" if cell is None else cell for cell in row)] for name, row in differences(runs).items()
    ]
    if not rows:
        unread = [name for name, run in runs if not run.config]
        told = f"Not measured: config.json of {', '.join(unread)} is missing." if unread else "None: the options are the same."
        return section("Options that differ", None, tag("p", told, class_="missing" if unread else "lead"))
    return section("Options that differ", None, table(["Option", *(name for name, _ in runs)], rows, text_columns=1 + len(runs)))


def _notes(runs: Named) -> Optional[Html]:
    rows = [tag("li", tag("b", name, ": "), line) for name, run in runs for line in run.missing]
    return tag("section", tag("h2", "What could not be read"), tag("ul", *rows, class_="warnings"), id="notes") if rows else None


def _origins(runs: Named) -> str:
    origins = list(dict.fromkeys(run.corruptions for _, run in runs))
    return f"Corruptions: {', '.join(origins)}."


def _whole(found: Any) -> Optional[int]:
    value = number(found)
    return None if value is None else round(value)


def _energy(run: Run) -> Optional[float]:
    """Of all phases, where each was followed by a meter."""
    spent = [phase.joules for phase in run.phases]
    known = [value for value in spent if value is not None]
    return sum(known) if known and len(known) == len(spent) else None


def _pair(*children: Content) -> Html:
    return tag("div", join(children), class_="pair")
