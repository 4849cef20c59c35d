"""What was asked and what came out: the head of the page, and the same in plain sentences."""

from __future__ import annotations

from typing import Any, Mapping, Optional

from gearnn.report.certainty import interval, known_to
from gearnn.report.formats import NARROW, count, duration, less, milliseconds, percent, points, quantity, spread
from gearnn.report.markup import Content, Html, join, tag, value
from gearnn.report.readiness import readiness
from gearnn.report.record import Run, items, mapping, number, text, texts


def accuracy(run: Run, kind: str) -> Optional[float]:
    """ "clean" or "robust" accuracy of the final network on its engine."""
    key = f"{kind}_accuracy"
    final = mapping(run.final.__dict__) if run.final else {}
    found = (number(run.result.get(key)), number(run.part("engine").get(key)), number(final.get(kind)))
    return next((value for value in found if value is not None), None)


def engine_name(run: Run) -> str:
    """The runtime and its version."""
    engine = run.part("engine")
    runtime, version = text(engine.get("runtime")), text(engine.get("version"))
    return " ".join(part for part in (runtime, version) if part) or "the engine"


def summary(run: Run) -> str:
    """The outcome in plain sentences; only what was measured is spoken of."""
    arch = text(run.result.get("arch")) or "The network"
    before, after = number(run.result.get("params_seed")), number(run.result.get("params_final"))
    sentences = []
    if before is not None and after is not None:
        sentences.append(f"{arch} grew from {count(before)} to {count(after)} parameters.")
    clean, robust = accuracy(run, "clean"), accuracy(run, "robust")
    if clean is not None and robust is not None:
        known, found = known_to(run, "clean", clean), interval(run, "robust", robust)
        origin = ", ".join([*([spread(*found)] if found else []), f"{run.corruptions} corruptions"])
        sentences.append(
            f"On {engine_name(run)} it is right on {percent(clean)} of the clean images{f' ({known})' if known else ''} and on "
            f"{percent(robust)} of the corrupted ones ({origin})."
        )
    if run.baseline is not None:
        robust_gain, clean_gain = less(robust, run.baseline.robust), less(clean, run.baseline.clean)
        if robust_gain is not None and clean_gain is not None:
            sentences.append(
                f"Against a network of the same size trained clean only that is {points(robust_gain)} points robust "
                f"and {points(clean_gain)} points clean accuracy."
            )
    latency = number(run.part("engine").get("latency_ms_p50"))
    if latency is not None:
        sentences.append(f"One image takes {milliseconds(latency)} (median).")
    return " ".join(sentences) or "Nothing was measured in this run."


def question(run: Run) -> str:
    """What was asked, in plain sentences; only what was recorded is spoken of."""
    data, growth = run.part("dataset"), run.part("growth")
    train, test, classes = number(data.get("n_train")), number(data.get("n_test")), items(run.result.get("classes"))
    images = f" on {count(train)} images" if train is not None else ""
    kinds = f" of {len(classes):,} classes" if classes else ""
    side = number(run.result.get("image_size"))
    pixels = f", {side:.0f}×{side:.0f} pixels" if side else ""
    sentences = [f"Train {text(run.result.get('arch')) or 'a network'}{images}{kinds}{pixels}."]
    limits = []
    for usage in map(mapping, items(growth.get("budget"))):
        limit = number(usage.get("limit"))
        if limit is not None:
            limits.append(_limit(usage, limit))
    if growth:
        sentences.append(f"Grow it{' to at most ' + ' and '.join(limits) if limits else ''}.")
    views = max((phase.views or 1 for phase in run.phases), default=1)
    if views > 1:
        sentences.append(f"Make it robust with {count(views)} views of every image.")
    if test is not None:
        sentences.append(f"Judge it on {count(test)} test images, clean and corrupted.")
    return " ".join(sentences)


def _limit(usage: Mapping[str, Any], limit: float) -> str:
    """What growth may use, in a person's words: "1,064 parameters", but "50.0 MB of training memory"."""
    name, unit, before = text(usage.get("name")) or "unnamed", text(usage.get("unit")), number(usage.get("before"))
    if name == "summed widths":
        times = f" ({limit / before:.1f} times as many as at first)" if before else ""
        return f"{count(limit)} channels in all its layers together{times}"
    return f"{quantity(limit, unit)} {'of ' if unit else ''}{name}"


def headline(run: Run) -> Html:
    """What was asked, what came out, and whether it is ready."""
    result, data, engine = run.result, run.part("dataset"), run.part("engine")
    arch, name = text(result.get("arch")) or "Unnamed network", text(data.get("name")) or "unnamed data"
    how = [text(result.get("method")), _prefixed("preset", result.get("preset")), _prefixed("seed", result.get("seed"))]
    how.append(_prefixed("took", duration(number(result.get("seconds_total")))) if "seconds_total" in result else None)
    before, after = number(result.get("params_seed")), number(result.get("params_final"))
    threads = number(engine.get("threads"))
    clean, robust = accuracy(run, "clean"), accuracy(run, "robust")
    clean_gain, robust_gain = (
        less(own, getattr(run.baseline, kind, None)) for own, kind in ((clean, "clean"), (robust, "robust"))
    )
    tiles = [
        _tile("Clean accuracy", percent(clean), _remark(known_to(run, "clean", clean), clean_gain)),
        _tile(
            join(["Robust accuracy ", tag("span", run.corruptions, class_="chip")]),
            percent(robust),
            _remark(known_to(run, "robust", robust), robust_gain),
        ),
        _tile(
            "Parameters",
            count(after),
            f"grown from {count(before)}" + (f", {after / before:.1f} times" if before and after else ""),
        ),
        _tile(
            "Latency, one image",
            milliseconds(number(engine.get("latency_ms_p50"))),
            f"median on {engine_name(run)}" + (f", {threads:.0f} thread{'s' if threads != 1 else ''}" if threads else ""),
        ),
    ]
    warnings = len(texts(result.get("warnings"))) + len(run.missing)
    pointer = tag("a", f"{warnings} warning{'s' if warnings > 1 else ''}", href="#notes", class_="pointer") if warnings else None
    return tag(
        "header",
        tag("p", "gearnn run", class_="overline"),
        tag("h1", arch, tag("span", " on "), name),
        tag("p", join([part for part in how if part], " · "), class_="asked"),
        tag("h2", "What was asked"),
        tag("p", question(run), class_="summary"),
        tag("h2", "What came out"),
        tag("div", *tiles, class_="tiles"),
        tag("p", summary(run), " ", pointer, class_="summary"),
        tag("h2", "Is it ready?"),
        readiness(run),
    )


def _tile(label: Content, figure_: str, remark: Content) -> Html:
    return tag(
        "div", tag("p", label, class_="label"), tag("p", value(figure_), class_="figure"), tag("p", remark, class_="remark")
    )


def _remark(known: Optional[str], difference: Optional[float]) -> Content:
    """How sure an accuracy is, and what it is against the baseline's, where there is one."""
    gain = f"{points(difference)} points against the same size trained clean" if difference is not None else None
    return join([part for part in (f"95{NARROW}%: {known}" if known else None, gain) if part], "; ")


def _prefixed(prefix: str, found: Any) -> Optional[str]:
    written = text(found)
    return None if written is None else f"{prefix} {written}"
