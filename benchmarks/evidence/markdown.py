"""table.md: a table for people."""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence

from benchmarks.evidence.watch import in_words

Plain = Mapping[str, Any]
MISSING = "not measured"


def render(table: Plain, plots: Sequence[str] = ()) -> str:
    """The whole file; ``plots`` are names of pictures beside it."""
    lines = [
        f"# Evidence: {table['scale']['name']}",
        "",
        table["scale"]["summary"][0].upper() + table["scale"]["summary"][1:] + ".",
        "",
    ]
    lines += _state(table)
    for arena in table["arenas"]:
        lines += _arena(arena, table["time_reference"], [plot for plot in plots if plot.startswith(arena["name"])])
    return "\n".join([*lines, *_conditions(table["conditions"])]) + "\n"


def _state(table: Plain) -> List[str]:
    cells = table["cells"]
    lines = [f"Written {table['written']}. {cells['done']} of {cells['asked']} cells are done."]
    if cells["not_done"]:
        lines += ["", f"**Partial: {len(cells['not_done'])} cells are still to be run.** " + ", ".join(cells["not_done"]) + "."]
    notes = [f"- **Failed:** {failure['cell']}: {failure['reason']}" for failure in cells["failed"]]
    notes += [f"- Left out: {reason}" for reason in table["left_out"]]
    return [*lines, *([""] if notes else []), *notes, ""]


def _arena(arena: Plain, time_reference: str, plots: Sequence[str]) -> List[str]:
    data = arena["dataset"]
    lines = [f"## {arena['arch']} on {arena['data']}", ""]
    if not arena["rows"]:
        return [*lines, "No cell is done.", ""]
    kinds = " and ".join(data["corruptions"])
    lines += [
        f"{data['n_train']:,} training and {data['n_test']:,} test images. Mean ± standard deviation over n seeds, "
        f"measured on the deployed engine; *robust* is the mean accuracy over 15 {kinds} corruptions × 5 severities.",
        "",
        *_grid(arena["rows"], _RESULT, _compared(arena["rows"], time_reference)),
        "",
        "What it took (on a CPU, peak memory is that of the whole process, data included):",
        "",
        *_grid(arena["rows"], _SPENT, {}),
        "",
    ]
    lines += _differences(arena["differences"]) + _published(arena)
    return lines + [line for plot in plots for line in (f"![{plot}]({plot})", "")]


def percent(value: float) -> str:
    """A fraction in percent."""
    return f"{100 * value:.1f}"


def count(value: float) -> str:
    """12,345, or 25.2 M from a million on."""
    return f"{value / 1e6:,.2f} M" if abs(value) >= 1e6 else f"{value:,.0f}"


def _fixed(digits: int) -> Callable[[float], str]:
    return lambda value: f"{value:,.{digits}f}"


_RESULT: Dict[str, Any] = {
    "clean %": ("clean", percent),
    "robust %": ("robust", percent),
    "parameters": ("params", count),
    "MACs": ("macs", count),
    "training s": ("train_seconds", _fixed(0)),
}
_SPENT: Dict[str, Any] = {
    "CPU s": ("cpu_seconds", _fixed(0)),
    "images seen": ("images", count),
    "views seen": ("views", count),
    "energy J": ("joules", _fixed(0)),
    "peak memory MB": ("peak_memory_mb", _fixed(0)),
    "latency ms": ("latency_ms", _fixed(3)),
    "ECE clean %": ("clean_ece", percent),
    "ECE robust %": ("robust_ece", percent),
}


def _compared(rows: Sequence[Plain], reference: str) -> Dict[str, str]:
    """Head → field of the training times over another row's, where there are any."""
    heads = {f"time / {reference}": "time_ratio", f"CPU s / {reference}": "cpu_ratio"}
    return {head: name for head, name in heads.items() if any(row[name] for row in rows)}


def _grid(rows: Sequence[Plain], columns: Mapping[str, Any], more: Mapping[str, str]) -> List[str]:
    heads = ["row", "", "n", *columns, *more]
    lines = ["| " + " | ".join(heads) + " |", "|---|---|" + "--:|" * (len(heads) - 2)]
    for row in rows:
        values = [plus_minus(row["metrics"][metric], show) for metric, show in columns.values()]
        values += [plus_minus(row[name], _fixed(2)) for name in more.values()]
        lines.append("| " + " | ".join([f"`{row['row']}`", row["label"], str(len(row["seeds"])), *values]) + " |")
    return lines


def plus_minus(found: Optional[Plain], show: Callable[[float], str]) -> str:
    """Mean ± sd; the mean alone of a single value or where all are the same."""
    if found is None:
        return MISSING
    return show(found["mean"]) + (f" ± {show(found['sd'])}" if found["sd"] else "")


def _differences(differences: Sequence[Plain]) -> List[str]:
    if not differences:
        return []
    lines = [
        "Differences in percentage points, seed by seed, with the 95 % interval by Student's t over the seeds. An interval "
        "with zero in it allows no claim, nor does one seed.",
        "",
        "| row | against | n | clean | robust | training time | CPU time |",
        "|---|---|--:|--:|--:|--:|--:|",
    ]
    for found in sorted(differences, key=lambda one: not one["one_thing"]):
        values = [
            _points(found["clean"]),
            _points(found["robust"]),
            *(_times(found[name]) for name in ("time_ratio", "cpu_ratio")),
        ]
        pairs = found["robust"]["n"] if found["robust"] else 0
        lines.append(f"| `{found['row']}` | `{found['against']}` | {pairs} | " + " | ".join(values) + " |")
    return [*lines, ""]


def _times(found: Optional[Plain]) -> str:
    return MISSING if found is None else "× " + plus_minus(found, _fixed(2))


def _points(found: Optional[Plain]) -> str:
    if found is None:
        return "no common seed"
    shown = f"{100 * found['mean']:+.1f}"
    return shown if found["low"] is None else f"{shown} ({100 * found['low']:+.1f} to {100 * found['high']:+.1f})"


def _published(arena: Plain) -> List[str]:
    """The paper's figures beside the nearest rows."""
    if not arena["published"]:
        return []
    measured = {row["row"]: row["metrics"] for row in arena["rows"]}
    lines = [
        "Published figures, **second-hand**: from reviews and summaries of the paper (arXiv 2410.07691), not read in it; single "
        "runs, robust accuracy on the published corruption files, most sizes not stated. \\* follows from other figures.",
        "",
        "| published on | method | clean % | robust % | training min | energy kJ | row here | clean % | robust % | min |",
        "|---|---|--:|--:|--:|--:|---|--:|--:|--:|",
    ]
    for figures in arena["published"]:
        theirs = [
            "–" if figures[name] is None else f"{figures[name]:g}" + ("\\*" if figures["worked_out"] == name else "")
            for name in ("clean", "robust", "minutes", "kilojoules")
        ]
        here = measured.get(figures["row"])
        minutes = (
            {name: value / 60 if name != "n" and value else value for name, value in here["train_seconds"].items()}
            if here
            else None
        )
        ours = [
            *(plus_minus(here[name] if here else None, percent) for name in ("clean", "robust")),
            plus_minus(minutes, _fixed(1)),
        ]
        lines.append("| " + " | ".join([figures["hardware"], figures["method"], *theirs, f"`{figures['row']}`", *ours]) + " |")
    return [*lines, ""]


def _conditions(conditions: Plain) -> List[str]:
    if not conditions["devices"]:
        return []
    lines = ["## Conditions", ""]
    for device in conditions["devices"]:
        shown = f"{device.get('name')}, {device.get('cores')} cores, {device.get('platform')}"
        lines.append(f"- {shown}; trained on {device.get('training_device')}, threads per cell: {device.get('threads')}")
    versions = [f"{name} {' / '.join(map(str, found))}" for name, found in conditions["versions"].items()]
    engines = [f"{engine['runtime']} {engine['version']}, threads: {engine['threads']}" for engine in conditions["engines"]]
    lines += [f"- Engine: {'; '.join(engines)}", f"- {', '.join(versions)}"]
    if conditions["from"]:
        lines.append(
            f"- From {conditions['from']} to {conditions['to']}, breaks included; the cells took "
            f"{in_words(conditions['wall_seconds'])} in {conditions['processes']} processes, measuring included"
        )
    if conditions["revisions"]:
        lines.append(f"- Source: {', '.join(conditions['revisions'])} (-dirty: with changes that were not committed)")
    if conditions["load"]:
        load = conditions["load"]
        lines.append(
            f"- Load average of the machine while they ran: {load['least']} to {load['most']} (of each cell, itself included)"
        )
    return lines
