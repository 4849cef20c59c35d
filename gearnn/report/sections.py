"""The page's sections, top to bottom; each is a pure function of the run."""

from __future__ import annotations

from typing import Any, Iterator, List, Mapping, Optional, Tuple

from gearnn.report.certainty import sureness
from gearnn.report.charts import Charts
from gearnn.report.formats import count, duration, less, milliseconds, percent, place, points
from gearnn.report.markup import Content, Html, facts, join, table, tag, value
from gearnn.report.plots import Chart
from gearnn.report.record import Run, text, texts


def figure(chart: Optional[Chart], reason: str) -> Html:
    """The place of a chart, or why there is none."""
    if chart is None:
        return tag("p", f"Not measured: {reason}.", class_="missing")
    place = tag(
        "div", id=f"chart-{chart.name}", class_="chart", style=f"height:{chart.height}px", role="img", aria_label=chart.title
    )
    note = tag("p", chart.note, class_="note") if chart.note else None
    return tag("figure", tag("figcaption", chart.title), place, note)


def section(title: str, lead: Content, *children: Content) -> Html:
    """A headed part of the page."""
    return tag("section", tag("h2", title), tag("p", lead, class_="lead") if lead else None, *children)


def networks(run: Run, drawn: Charts) -> Html:
    """Every network that was measured, beside the others, and what its accuracy costs."""
    if not run.networks:
        return section("Networks compared", None, tag("p", "Not measured: no networks in result.json.", class_="missing"))
    base = run.baseline
    rows: List[List[Content]] = []
    for network in run.networks:
        against: List[Content] = [None, None]
        if base is not None:
            gains = (less(network.clean, base.clean), less(network.robust, base.robust))
            against = ["–" if network is base else _signed(gain) for gain in gains]
        rows.append(
            [
                network.label,
                count(network.params),
                percent(network.clean),
                percent(network.robust),
                *(against if base is not None else []),
                milliseconds(network.latency),
                count(network.images),
                duration(network.seconds),
            ]
        )
    head = ["Network", "Parameters", "Clean", "Robust", "Latency", "Images seen", "Training time"]
    if base is not None:
        head[4:4] = ["Clean vs. baseline", "Robust vs. baseline"]
    marked = [index for index, network in enumerate(run.networks) if network is run.final]
    lead = "Each network was exported and judged on its own engine, on the same test images."
    if base is not None:
        lead += " Differences to the clean-trained baseline of the same size are in percentage points."
    else:
        lead += " No baseline of the same size was trained, so gains over clean training are not measured."
    scatter = (
        figure(drawn["trade-latency"], "no network's latency is in result.json"),
        figure(drawn["trade-size"], "no network's size is in result.json"),
    )
    hint = "Filled marks are robust accuracy, hollow ones clean accuracy; up and to the left is better."
    return section(
        "Networks compared",
        lead,
        table(head, rows, marked=marked),
        _conditions(run),
        tag("div", *scatter, class_="pair spaced"),
        tag("p", hint, class_="note"),
    )


def training(run: Run, drawn: Charts) -> Html:
    """Curves over the epochs of all phases."""
    lead = (
        "The phases follow one another on the same network; the dashed line is where it grew. Test accuracy is on clean images. "
        "Phases differ in their images and a robust phase of several views in its loss, so losses compare within a phase only."
    )
    shown = (figure(drawn["accuracy"], "no accuracies in metrics.jsonl"), figure(drawn["loss"], "no losses in metrics.jsonl"))
    return section("Training", lead, tag("div", *shown, class_="pair"))


def robustness(run: Run, drawn: Charts) -> Html:
    """Accuracy of the final network under each corruption."""
    kind = run.corruptions
    lead: Content = join(
        [
            "Accuracy of the final network under each corruption and severity, in percent. The corruptions are ",
            tag("span", kind, class_="chip"),
            " from the test images with the published parameters; they are not the published files.",
        ]
        if kind == "generated"
        else [f"Accuracy of the final network under each corruption and severity, in percent ({kind})."]
    )
    shown = figure(drawn["corruptions"], "no accuracies per corruption in result.json")
    if run.baseline is not None:
        reason = "difference to the clean-trained baseline, as its accuracies per corruption are not comparable"
        shown = tag("div", shown, figure(drawn["difference"], reason), class_="pair")
    return section("Robustness", lead, shown, sureness(run), _conditions(run))


def notes(run: Run) -> Html:
    """What a person should know before relying on the numbers."""
    warnings = [*texts(run.result.get("warnings")), *run.missing]
    remarks = [line for line in texts(run.part("dataset").get("notes")) if line not in warnings]
    remarks += texts(run.result.get("footnotes"))
    shown = [tag("ul", *(tag("li", line) for line in warnings), class_="warnings") if warnings else None]
    shown.append(tag("ul", *(tag("li", line) for line in remarks), class_="remarks") if remarks else None)
    if not warnings and not remarks:
        shown = [tag("p", "None.", class_="lead")]
    return tag("section", tag("h2", "Notes and warnings"), *shown, id="notes")


def configuration(run: Run) -> Html:
    """Every option of the run, as resolved."""
    rows = [(tag("code", name), place(written) if name in ("data", "out") else written) for name, written in flat(run.config)]
    if not rows:
        return section("Configuration", None, tag("p", "Not measured: config.json is missing.", class_="missing"))
    body = tag("details", tag("summary", f"All {len(rows)} options as resolved"), facts(rows))
    return section("Configuration", None, body)


def surroundings(run: Run) -> Html:
    """Versions and device."""
    device = [(key.replace("_", " "), written) for key, written in flat(run.part("device"))]
    versions = list(flat(run.part("versions")))
    data = run.part("dataset")
    lines: List[Tuple[Content, Content]] = [
        ("run folder", place(str(run.folder))),
        ("data", place(text(data.get("source")) or "") or None),
    ]
    return section(
        "Environment",
        None,
        facts([*lines, *device]) if device else facts([*lines, ("device", None)]),
        tag("h3", "Versions"),
        facts(versions) if versions else tag("p", value(None)),
    )


def flat(nested: Mapping[str, Any], prefix: str = "") -> Iterator[Tuple[str, str]]:
    """Nested options as dotted names and written values."""
    for key, found in nested.items():
        name = f"{prefix}{key}"
        if isinstance(found, dict) and found:
            yield from flat(found, name + ".")
        elif isinstance(found, (list, dict)):
            yield name, ", ".join(map(str, found)) or "none"
        elif isinstance(found, bool):
            yield name, "yes" if found else "no"
        else:
            yield name, "not set" if found is None else str(found)


def _signed(difference: Optional[float]) -> Content:
    if difference is None:
        return None
    return tag("span", points(difference), class_="loss" if round(difference, 3) < 0 else None)


def _conditions(run: Run) -> Optional[Html]:
    """What robust accuracy is a mean over."""
    network = run.final
    if network is None or not network.scores:
        return None
    images = f", {count(network.n)} images each" if network.n is not None else ""
    cells = f"{len(network.scores)} corruptions × {len(network.severities)} severities"
    made = f"Robust accuracy: mean over {cells}, {run.corruptions}{images}."
    return tag("p", made, class_="note")
