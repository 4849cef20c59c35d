"""The main job: images in; a grown, robust, measured network in an engine, and a report, out."""

from __future__ import annotations

import importlib.util
import json
import os
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any, Dict, List, Tuple

import numpy as np
import torch

from gearnn.accumulation import is_out_of_memory
from gearnn.augmentations import augmenter_from
from gearnn.budget import check_present_latency, check_reach, toward
from gearnn.checkpoint import Progression, has_checkpoint, network_path
from gearnn.config import RunConfig, check, to_dict
from gearnn.data import Dataset, check_batch_size, load_data, skipped_note
from gearnn.device import choose_device, set_threads
from gearnn.disk import patiently
from gearnn.distributed import Team, check_team, joined, team_of
from gearnn.engine.errors import EngineError
from gearnn.engine.files import remove_unfinished, write_bytes
from gearnn.engine.runtimes import load_runtime
from gearnn.errors import UserError
from gearnn.examples import save_examples
from gearnn.files import write_json
from gearnn.growth.growers import find_grower
from gearnn.lock import locked
from gearnn.materials import limits_of, work_of
from gearnn.measure import deploy, judge, latencies, time_engine
from gearnn.models import create_model, full_widths, scaled_widths
from gearnn.phases import Phase, outline, phases_of
from gearnn.presets import resolved, smaller_batch_remark, with_batch_size
from gearnn.progress import Progress, Say, no_progress, say_nothing
from gearnn.records import conditions, growth_summary, outcome, provenance
from gearnn.robustness.benchmark import predicting
from gearnn.run_folder import as_begun, open_folder
from gearnn.timing_plan import Clock, stopwatch
from gearnn.trainer import Trainer

PEAK_MEMORY = "Peak memory on a CPU is that of the whole process, data included."


def run(config: RunConfig, progress: Progress = no_progress, say: Say = say_nothing) -> Dict[str, Any]:
    """Train, grow, make robust, export, measure and report; everything is written to the run folder.

    Started by torchrun, it does its share of the training, and the first process alone writes and judges (see `distributed`).

    Args:
        progress: is told how far each part is.
        say: is given lines for people: what will happen, what of the data is odd, what a phase came to.

    Returns:
        The contents of result.json: accuracies as fractions, measured on the engine; on processes but the first nothing.

    Raises:
        UserError, EngineError: one sentence each, for what a person can put right.
    """
    clock = stopwatch()
    config = resolved(config)
    assert config.out is not None
    phases = phases_of(config)
    check(config)
    augmenter_from(config.augmentation, config.augmentation.views)
    full_widths(config.arch)  # what can be refused before any data is read, is
    team = team_of(os.environ)
    check_team(config, team)
    device = choose_device(config.device, team.local_rank, team.local_size)
    threads = set_threads(config.threads, team.local_size)
    with joined(team, device) as team, locked(config.out) if team.leads else nullcontext():
        return _work(config, phases, device, threads, progress, clock, team, say)


def _work(
    config: RunConfig,
    phases: List[Phase],
    device: torch.device,
    threads: int,
    progress: Progress,
    clock: Clock,
    team: Team,
    say: Say,
) -> Dict[str, Any]:
    """The run, in a folder that no other process works in, but for those of its own team."""
    if team.leads:
        folder, config = open_folder(config)
        remove_unfinished(folder)
    else:
        folder, config = Path(str(config.out)), as_begun(config, Path(str(config.out)))
    say(f"{config.arch}: {outline(phases, config.budget.train_time is not None)}; then export, judging and the report")
    dataset = load_data(
        config.data,
        image_size=config.image_size,
        limit_train=config.limit_train,
        limit_test=config.limit_test,
        seed=config.seed,
        progress=progress,
        on_bad_image=config.on_bad_image,
    )
    say(f"data: {_described(dataset)}")
    skipped = skipped_note(dataset.skipped, _files(dataset)) if dataset.skipped else None
    if skipped:
        say(f"note: {skipped}")
    config, named = with_batch_size(config, len(dataset.train)), config.optimizer.batch_size
    remark = smaller_batch_remark(config, len(dataset.train)) if named is None else None
    if remark:
        say(f"note: {remark}")
    check_batch_size(dataset, config.optimizer.images_per_step)
    check_team(config, team)
    _check_budget(config, dataset, phases, progress)
    begin = Trainer.resume if team.told(b"goes on" if has_checkpoint(folder) else b"") else Trainer.start
    trainer = begin(config, dataset, phases, folder, device, progress, clock, team)
    trainer.say = say
    if remark:
        trainer.state.progression.remarks.append(remark)
    trainer.prepare()  # what is refused leaves no run behind
    if team.leads:
        write_json(folder / "config.json", to_dict(config))
    if trainer.state.progression.phase < len(phases):
        say("preparing the first step; the first run on a machine also compiles its kernels, which takes up to a minute")
    try:
        trainer.work()
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise UserError(
            f"memory ran out outside of a training step ({device}): end other programs and go on with --resume, or start a new "
            "run with a lower --optimizer.batch-size, --augmentation.views or --budget"
        ) from error

    if not team.leads:
        return {}
    progression, trained = trainer.state.progression, trainer.elapsed()
    networks, engine = _measure(phases, progression, folder, dataset, config, threads, progress)
    progress("report", 0, 3)
    with load_runtime(folder / "model.onnx", threads=threads) as runtime, predicting("model", runtime) as predict:
        patiently(lambda: save_examples(folder / "examples.npz", dataset, config, predict), folder, progress)
    progress("report", 1, 3)
    result = {
        **outcome(networks, _final(phases), engine),
        "arch": config.arch,
        "classes": list(dataset.classes),
        "image_size": dataset.image_size,
        "in_chans": dataset.in_chans,
        "method": config.method,
        "preset": config.preset,
        "dataset": provenance(dataset),
        "width_layers": trainer.state.model.width_layers,
        "growth": progression.growth,
        "phases": progression.phases,
        **conditions(threads, str(device), team.size),
        "seed": config.seed,
        "seconds_total": trainer.elapsed(),
        "time_plan": trainer.time_budget.outcome(trainer.state, trained) if trainer.time_budget else None,
        "warnings": [*([skipped] if skipped else []), *_distrusted(networks), *_remarks(trainer)],
        "footnotes": [PEAK_MEMORY] if device.type == "cpu" else [],
    }
    patiently(lambda: write_json(folder / "result.json", result), folder, progress)
    progress("report", 2, 3)
    if _can_report():
        from gearnn.report import write_report

        patiently(lambda: write_report(folder), folder, progress)
    progress("report", 3, 3)
    return result


def _files(dataset: Dataset) -> int:
    """Images that were to be read."""
    return len(dataset.train) + len(dataset.test) + len(dataset.skipped)


def _final(phases: List[Phase]) -> str:
    """The network that the run is for."""
    return [str(phase.keeps) for phase in phases if phase.keeps and phase.kind != "fresh"][-1]


def _check_budget(config: RunConfig, dataset: Dataset, phases: List[Phase], progress: Progress) -> None:
    """Refuse a budget out of reach of the first growth step now, not after the seed network has been trained."""
    first = next((phase for phase in phases if phase.kind == "grow"), None)
    if first is None:
        return
    widths = scaled_widths(config.arch, config.seed_width, config.growth.round_to)
    seed = create_model(config.arch, dataset.num_classes, widths, dataset.in_chans)
    check_present_latency(config.budget, seed, work_of(config, dataset, torch.device("cpu")))
    graph, limits = limits_of(config, dataset, seed, progress)
    limits = tuple(toward(limit, graph, first.fraction) for limit in limits)
    check_reach(graph, limits, find_grower(config.grower).offered(graph, config.growth), config.growth.round_to)


def _measure(
    phases: List[Phase],
    progression: Progression,
    folder: Path,
    dataset: Dataset,
    config: RunConfig,
    threads: int,
    progress: Progress,
) -> Tuple[List[Dict[str, Any]], Dict[str, Any]]:
    """Each kept network exported, compared with torch, judged and timed on its engine; and the final engine's latency."""
    kept = {phase.keeps: phase for phase in phases if phase.keeps}
    files = {name: folder / "networks" / f"{name}.onnx" for name in kept}
    images = np.ascontiguousarray(dataset.test.images[:256])
    growth = {"growth": json.dumps(growth_summary(config, progression))} if progression.growth else {}
    facts = {}
    for done, name in enumerate(kept):
        metadata = growth if name in ("grown", "robust") else None
        export = partial(deploy, network_path(folder, name), files[name], images, threads, check=False, metadata=metadata)
        facts[name] = patiently(export, folder, progress)
        if facts[name]["comparison"]["max_abs"] is None:
            raise EngineError(f"{kept[name].label} cannot be judged: {facts[name]['disagreement']}")
        progress("export", done + 1, len(kept))
    scores = judge(files, dataset.test, config.seed, threads, progress, classes=dataset.classes)
    for kind in (".safetensors", ".onnx"):
        content = (folder / "networks" / f"{_final(phases)}{kind}").read_bytes()
        patiently(partial(write_bytes, folder / f"model{kind}", content), folder, progress)
    last = {record["keeps"]: record["name"] for record in progression.phases}  # growth may have ended before its last step
    progress("timing", 0, 2)
    engine = time_engine(folder / "model.onnx", threads, config.seed)
    progress("timing", 1, 2)
    times = latencies(files, threads, config.seed)
    # The final network's latency is its profile's; the others stand to it as they did in turn.
    final = times[_final(phases)]
    progress("timing", 2, 2)
    networks = [
        {
            "name": name,
            "label": phase.label,
            "phase": last[name],
            **facts[name],
            **scores[name],
            "latency_ms_p50": engine["latency_ms_p50"] * (times[name] / final),  # its own is exact: the ratio is 1
        }
        for name, phase in kept.items()
    ]
    return networks, engine


def _distrusted(networks: List[Dict[str, Any]]) -> List[str]:
    """Networks whose engine does not compute what torch does: told beside the result, since what was trained stands."""
    return [f"{network['label']}: not ready, {network['disagreement']}" for network in networks if network["disagreement"]]


def _described(dataset: Dataset) -> str:
    """As "240 training and 60 test images of 3 classes, 32×32 pixels"."""
    images = f"{len(dataset.train):,} training and {len(dataset.test):,} test images of {len(dataset.classes)} classes"
    return f"{images}, {dataset.image_size}×{dataset.image_size} pixels"


def _can_report() -> bool:
    return importlib.util.find_spec("plotly") is not None


def _remarks(trainer: Trainer) -> List[str]:
    """What a reader of the result should know."""
    remarks = list(trainer.state.progression.remarks)
    if trainer.state.progression.growth.get("bound_by") == "candidates":
        remarks.append("Growth used up its candidates before the budget: raise --growth.new-candidates to grow further.")
    limits = {usage["name"]: usage["limit"] for usage in trainer.state.progression.growth.get("budget", [])}
    for found in trainer.state.progression.growth.get("checks", []):
        if found["measured"] > limits[found["name"]]:
            excess = 100 * (found["measured"] / limits[found["name"]] - 1)
            remarks.append(
                f"The grown network's {found['name']} was measured {excess:.1f} % above its limit: lower the limit by as much."
            )
    if trainer.time_budget is not None:
        remarks.append("Phases were cut to --budget.train-time: what they reached depends on how fast this device was.")
    if not _can_report():
        remarks.append(f"No report was written: pip install 'gearnn[report]', then gearnn report {trainer.folder}.")
    return remarks
