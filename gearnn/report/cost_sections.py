"""What training took, and what the network takes where it runs."""

from __future__ import annotations

from typing import Any, Mapping, Optional

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
    )


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
