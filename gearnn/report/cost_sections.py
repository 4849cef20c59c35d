"""What training took, and what the network takes where it runs."""

from __future__ import annotations

from typing import Any, List, Mapping, Optional, Tuple

from gearnn.report.charts import Charts
from gearnn.report.formats import count, duration, joules, milliseconds, percent, size, small
from gearnn.report.headline import engine_name
from gearnn.report.markup import Html, facts, join, table, tag
from gearnn.report.record import Run, items, mapping, number, text
from gearnn.report.sections import figure, section


def time(run: Run, drawn: Charts) -> Html:
    """What each phase took; energy where a meter could be read."""
    rows = [
        [
            phase.name,
            count(phase.epochs),
            count(phase.views),
            count(phase.images),
            duration(phase.seconds),
            count(phase.images_per_s),
            _megabytes(phase.peak_memory_mb),
            joules(phase.joules),
        ]
        for phase in run.phases
    ]
    head = ["Phase", "Epochs", "Views", "Images", "Time", "Images/s", "Peak memory", "Energy"]
    total = number(run.result.get("seconds_total"))
    lead = f"The whole run, measurements included, took {duration(total)}." if total is not None else None
    shown = (
        figure(drawn["time"], "no phases in result.json"),
        figure(drawn["energy"], "energy per phase, as no power meter followed a phase to its end"),
    )
    return section(
        "Time, energy and memory",
        lead,
        tag("div", *shown, class_="pair") if drawn["energy"] is not None else join(shown),
        table(head, rows) if rows else None,
        _plan(run),
    )


def _plan(run: Run) -> Optional[Html]:
    """What every part of a run with a time budget was to take, and what it took."""
    plan = run.part("time_plan")
    limit, end = number(plan.get("limit")), mapping(plan.get("end"))
    if limit is None:
        return None
    parts: List[Tuple[str, Optional[float], Optional[float]]] = [
        ("before training", None, number(plan.get("prepared"))),
        *((phase.name, phase.planned_seconds, phase.wall_seconds) for phase in run.phases),
        ("measurements and report", number(end.get("planned_seconds")), number(end.get("wall_seconds"))),
        ("whole run", limit, number(run.result.get("seconds_total"))),
    ]
    rows = [
        [
            name,
            "–" if name == "before training" else duration(planned),
            duration(spent),
            percent(spent / planned) if planned and spent is not None else "–",
        ]
        for name, planned, spent in parts
    ]
    told = (
        "Planned is what a part was to take when it began; what earlier ones took more or less had been shared out anew by then. "
        "Spent is by the clock, with the tests after every epoch."
    )
    shown = table(["Part", "Planned", "Spent", "Of the plan"], rows, marked=[len(rows) - 1])
    return join([tag("h3", "Time plan"), tag("p", told, class_="lead"), shown])


def engine(run: Run, drawn: Charts) -> Html:
    """Latency, its conditions, its layers, and how well the engine agrees with torch."""
    record, device = run.part("engine"), run.part("device")
    rows = [
        [
            count(number(row.get("batch"))),
            *(milliseconds(number(row.get(key))) for key in ("p50_ms", "p90_ms", "p99_ms")),
            count(_per_second(row)),
            count(number(row.get("images_per_s"))),
            count(number(row.get("iterations"))),
        ]
        for row in map(mapping, items(record.get("latency")))
    ]
    latency = (
        table(["Batch", "p50", "p90", "p99", "Images/s at p50", "Images/s, mean", "Iterations"], rows)
        if rows
        else tag("p", "Not measured: no latencies in result.json.", class_="missing")
    )
    compared = mapping(record.get("comparison"))
    conditions = facts(
        [
            ("Runtime", engine_name(run) if record.get("runtime") else None),
            ("Threads", count(number(record.get("threads")))),
            ("Device", text(device.get("name"))),
            ("ONNX file", size(number(record.get("onnx_bytes")))),
            ("ONNX opset", count(number(record.get("opset")))),
        ]
    )
    agreement = facts(
        [
            ("Largest difference", small(number(compared.get("max_abs")))),
            ("Mean difference", small(number(compared.get("mean_abs")))),
            ("Same top class", percent(number(compared.get("top1_agreement")))),
            ("Images compared", count(number(compared.get("n")))),
        ]
    )
    return section(
        "Engine",
        "The network as it will run. Latency is of the runtime alone, on random input, after warming up.",
        tag("h3", "Latency"),
        latency,
        conditions,
        figure(drawn["layers"], "no times per layer in result.json"),
        _layer_note(run),
        tag("h3", "Agreement with torch"),
        tag("p", "Logits of the engine against those of torch on the same test images.", class_="lead"),
        agreement,
    )


def _per_second(row: Mapping[str, Any]) -> Optional[float]:
    """Images in a second of median calls; the mean counts the slow calls as well."""
    batch, p50 = number(row.get("batch")), number(row.get("p50_ms"))
    return 1e3 * batch / p50 if batch is not None and p50 else None


def _layer_note(run: Run) -> Optional[Html]:
    if not run.layer_times or text(run.part("engine").get("runtime")) != "onnxruntime":
        return None
    told = "ONNX Runtime's profiler counts whole µs and adds 1 to 2 to every layer: read the shares, not the sum."
    return tag("p", told, class_="note")


def _megabytes(value: Optional[float]) -> str:
    return size(None if value is None else value * 1e6)
