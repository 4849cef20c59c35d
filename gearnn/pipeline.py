"""The main job: images in; a grown, robust, measured network in an engine, and a report, out."""

from __future__ import annotations

import importlib.util
import json
import os
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Dict, List, Tuple

import numpy as np
import torch

from gearnn.accumulation import is_out_of_memory
from gearnn.augmentations import augmenter_from
from gearnn.budget import check_reach, toward
from gearnn.checkpoint import Progression, has_checkpoint, network_path
from gearnn.config import RunConfig, check, differences, to_dict
from gearnn.data import Dataset, check_batch_size, load_data
from gearnn.device import choose_device, set_threads
from gearnn.disk import patiently
from gearnn.distributed import Team, check_team, joined, team_of
from gearnn.engine.files import remove_unfinished, write_bytes
from gearnn.engine.runtimes import load_runtime
from gearnn.errors import UserError
from gearnn.examples import save_examples
from gearnn.files import read_json, write_json
from gearnn.growth.growers import find_grower
from gearnn.lock import locked
from gearnn.materials import limits_of
from gearnn.measure import deploy, judge, median_latency, time_engine
from gearnn.models import create_model, full_widths, scaled_widths
from gearnn.phases import Phase, phases_of
from gearnn.presets import resolved
from gearnn.progress import Progress, no_progress
from gearnn.records import conditions, growth_summary, outcome, provenance
from gearnn.robustness.benchmark import predicting
from gearnn.run_facts import check_types
from gearnn.timing_plan import Clock, stopwatch
from gearnn.trainer import Trainer


class RunExistsError(UserError):
    """There is a run in the folder already, which was not to be continued."""


def run(config: RunConfig, progress: Progress = no_progress) -> Dict[str, Any]:
    """Train, grow, make robust, export, measure and report; everything is written to the run folder.

    Started by torchrun, it does its share of the training, and the first process alone writes and judges (see `distributed`).

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
        return _work(config, phases, device, threads, progress, clock, team)


def _work(
    config: RunConfig, phases: List[Phase], device: torch.device, threads: int, progress: Progress, clock: Clock, team: Team
) -> Dict[str, Any]:
    """The run, in a folder that no other process works in, but for those of its own team."""
    if team.leads:
        folder, config = _open_folder(config)
        remove_unfinished(folder)
    else:
        folder, config = Path(str(config.out)), _with_data_of(config, Path(str(config.out)))
    dataset = load_data(
        config.data,
        image_size=config.image_size,
        limit_train=config.limit_train,
        limit_test=config.limit_test,
        seed=config.seed,
        progress=progress,
        on_bad_image=config.on_bad_image,
    )
    check_batch_size(dataset, config.optimizer.batch_size)
    _check_budget(config, dataset, phases)
    begin = Trainer.resume if team.told(b"goes on" if has_checkpoint(folder) else b"") else Trainer.start
    trainer = begin(config, dataset, phases, folder, device, progress, clock, team)
    trainer.prepare()  # what is refused leaves no run behind
    if team.leads:
        write_json(folder / "config.json", to_dict(config))
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
    progression = trainer.state.progression
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
        "time_plan": {**progression.plan, "limit": trainer.time_budget.limit} if trainer.time_budget else None,
        "warnings": _remarks(trainer),
    }
    patiently(lambda: write_json(folder / "result.json", result), folder, progress)
    progress("report", 2, 3)
    if _can_report():
        from gearnn.report import write_report

        patiently(lambda: write_report(folder), folder, progress)
    progress("report", 3, 3)
    return result


def _final(phases: List[Phase]) -> str:
    """The network that the run is for."""
    return [str(phase.keeps) for phase in phases if phase.keeps and phase.kind != "fresh"][-1]


def _open_folder(config: RunConfig) -> Tuple[Path, RunConfig]:
    """The run folder: a new one, or with ``resume`` one whose configuration is the same; data that are not named are the run's.

    Raises:
        UserError: if a run is there already and is not to be continued, or was started with other options.
    """
    folder = Path(str(config.out))
    saved = folder / "config.json"
    if not saved.exists():
        if has_checkpoint(folder):
            raise UserError(f"{folder} holds a run without its config.json: restore that, or choose another --out")
        if config.resume:
            raise UserError(f"there is no run to resume in {folder}: leave out --resume to start one")
        return folder, config
    if not config.resume:
        raise RunExistsError(f"there is a run in {folder} already: continue it with --resume, or choose another --out")
    options = read_json(saved)
    check_types(options, saved)
    changed = differences(options, config)
    if changed:
        raise UserError(
            f"the run in {folder} was started with other options ({', '.join(changed)}): repeat those, or choose another --out"
        )
    return folder, _with_data_of(config, folder)


def _with_data_of(config: RunConfig, folder: Path) -> RunConfig:
    """The data of the run that is gone on with, where none are named."""
    saved = folder / "config.json"
    if config.data is not None or not config.resume or not saved.exists():
        return config
    options = read_json(saved)
    check_types(options, saved)
    return replace(config, data=Path(options["data"])) if options.get("data") else config


def _check_budget(config: RunConfig, dataset: Dataset, phases: List[Phase]) -> None:
    """Refuse a budget out of reach of the first growth step now, not after the seed network has been trained."""
    first = next((phase for phase in phases if phase.kind == "grow"), None)
    if first is None:
        return
    widths = scaled_widths(config.arch, config.seed_width, config.growth.round_to)
    seed = create_model(config.arch, dataset.num_classes, widths, dataset.in_chans)
    graph, limits = limits_of(config, dataset, seed)
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
        export = partial(deploy, network_path(folder, name), files[name], images, threads, metadata=metadata)
        facts[name] = patiently(export, folder, progress)
        progress("export", done + 1, len(kept))
    scores = judge(files, dataset.test, config.seed, threads, progress, classes=dataset.classes)
    for kind in (".safetensors", ".onnx"):
        content = (folder / "networks" / f"{_final(phases)}{kind}").read_bytes()
        patiently(partial(write_bytes, folder / f"model{kind}", content), folder, progress)
    last = {record["keeps"]: record["name"] for record in progression.phases}  # growth may have ended before its last step
    engine, final = time_engine(folder / "model.onnx", threads, config.seed), _final(phases)
    times = {
        name: engine["latency_ms_p50"] if name == final else median_latency(files[name], threads, config.seed) for name in kept
    }
    networks = [
        {
            "name": name,
            "label": phase.label,
            "phase": last[name],
            **facts[name],
            **scores[name],
            "latency_ms_p50": times[name],
        }
        for name, phase in kept.items()
    ]
    return networks, engine


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
    if trainer.device.type == "cpu":
        remarks.append("Peak memory on a CPU is that of the whole process, data included.")
    if trainer.time_budget is not None:
        remarks.append("Phases were cut to --budget.train-time: what they reached depends on how fast this device was.")
    if not _can_report():
        remarks.append(f"No report was written: pip install 'gearnn[report]', then gearnn report {trainer.folder}.")
    return remarks
