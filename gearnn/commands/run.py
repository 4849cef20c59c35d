"""``gearnn run``: the main job."""

from __future__ import annotations

import os
import shlex
import sys
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Dict, List, Sequence, TypeVar

import tyro
from typing_extensions import Annotated

from gearnn.commands.parsing import parse, print_json
from gearnn.config import RunConfig
from gearnn.errors import UserError
from gearnn.presets import preset, resolved
from gearnn.proportions import FEW, wilson_interval
from gearnn.quantities import number_of


@dataclass(frozen=True)
class RunArguments:
    """Train, grow, make robust, measure and deploy a network on your images.

    Ends with a run folder: result.json, model.onnx, model.safetensors, report.html and the run's own records.

    Examples:

      gearnn run --data photos/ --arch mobilenet_v1 --preset quick --out runs/photos

      gearnn run --data cifar10/ --limit-train 10000 --arch vgg19 --budget.params 400000 --baseline

      gearnn run --resume --out runs/photos
    """

    config: Annotated[RunConfig, tyro.conf.arg(name="")]
    json: bool = False
    """Print result.json on standard output."""


T = TypeVar("T", bound=RunArguments)


def main(arguments: List[str]) -> int:
    """Run the main job; the preset's values stand wherever no option overrides them."""
    options = RunArguments(preset(preset_in(arguments, "default")))
    return execute(chosen(options, arguments, "run"), "run", arguments)


def chosen(defaults: T, arguments: List[str], command: str) -> T:
    """The options of a run; of one that is gone on with, what is not named is as it was begun."""
    options = parse(type(defaults), arguments, command, defaults)
    out = resolved(options.config).out
    if not options.config.resume or out is None or not (out / "config.json").is_file():
        return options
    from gearnn.run_folder import config_of

    begun = replace(config_of(out), out=options.config.out)
    return parse(type(defaults), arguments, command, replace(defaults, config=begun))


def execute(options: RunArguments, name: str, arguments: Sequence[str]) -> int:
    """Do the run and print what came out; ``name`` and ``arguments`` of the command are for telling how to go on.

    Returns:
        The exit code: 0, or 130 or 143 where Ctrl-C or SIGTERM ended the run.
    """
    from gearnn.console import console_progress, say
    from gearnn.distributed import team_of
    from gearnn.pipeline import run
    from gearnn.progress import no_progress, say_nothing
    from gearnn.run_folder import RunExistsError
    from gearnn.stopping import Stopped, stopping

    team = team_of(os.environ)
    begun = " ".join(map(shlex.quote, ("gearnn", name, *arguments)))
    if team.size > 1:
        begun = f"torchrun … -m {begun}"  # its own options are not known here
    continued = begun if options.config.resume else f"{begun} --resume"
    try:
        # Of several processes, the first speaks for all.
        with console_progress() if team.leads else nullcontext(no_progress) as shown, stopping(shown) as progress:
            result = run(options.config, progress, say if team.leads else say_nothing)
    except RunExistsError as error:
        folder = error.args[0].split(": ")[0]
        raise UserError(f"{folder}: continue it with `{continued}`, or choose another --out") from error
    except Stopped as stopped:
        if (Path(str(resolved(options.config).out)) / "config.json").exists():
            print(f"{stopped}; go on from the last finished epoch with `{continued}`", file=sys.stderr)
        else:
            print(f"{stopped} before training had begun; start again with `{begun}`", file=sys.stderr)
        return stopped.exit_code
    if options.json and result:
        print_json(result)
    elif result:
        print(summary(result, str(resolved(options.config).out)))
    return 0


def summary(result: Dict[str, Any], folder: str) -> str:
    """A run in a few lines: each network on its engine, how sure its accuracies are, and where things are."""
    engine, data = result["engine"], result["dataset"]
    count = data["n_test"]
    lines = [f"{'network':<42}{'parameters':>12}  {'clean':<36}robust"]
    for network in result["networks"]:
        clean, robust = network["clean_accuracy"], network["robust_accuracy"]
        bounds = network["robustness"].get("robust_interval")
        shown = f"{clean:.1%} ({_spread(*wilson_interval(clean * count, count))}, {number_of(count, 'image')})"
        lines.append(
            f"{network['label']:<42}{network['params']:>12,}  {shown:<36}{robust:.1%}{f' ({_spread(*bounds)})' if bounds else ''}"
        )
    few = f"with {count} test images a difference of one image is {100 / count:.1f} points: judge it on {FEW} or more."
    lines += [
        "",
        f"On {engine['runtime']} {engine['version']}, {number_of(engine['threads'], 'thread')}; "
        f"{number_of(count, 'image')} of {data['name']}; "
        "robust: mean over 15 generated corruptions x 5 severities; in brackets 95 % intervals.",
        f"Latency at batch 1: {engine['latency_ms_p50']:.3f} ms (p50). Whole run: {result['seconds_total'] / 60:.1f} min.",
        *([f"Note: {few}"] if count < FEW else []),
        *(f"Note: {warning}" for warning in result["warnings"]),
        *([f"Report: {folder}/report.html"] if Path(folder, "report.html").exists() else []),
        *_verdict(folder),
    ]
    return "\n".join(lines)


def _verdict(folder: str) -> List[str]:
    """The report's, with what to do next where the network is ready and what failed where it is not."""
    from gearnn.report.readiness import checks, verdict
    from gearnn.report.record import read_run

    if not Path(folder, "result.json").exists():
        return []
    found = checks(read_run(Path(folder)))
    told = verdict(found)
    if told != "Ready":
        open_ones = [f"{check.question}: {check.found}" for check in found if check.needed and not check.passed]
        return [f"{told}. {'; '.join(open_ones)}".replace("\u202f", " ")]
    out = f"{Path(folder).resolve().name}.zip"
    return [f"Ready. Next: gearnn bundle {shlex.quote(folder)} --out {shlex.quote(out)}"]


def _spread(low: float, high: float) -> str:
    return f"{100 * low:.0f} to {100 * high:.0f}%" if high - low >= 0.05 else f"{100 * low:.1f} to {100 * high:.1f}%"


def preset_in(arguments: List[str], fallback: str) -> str:
    """The preset has to be known before the other options are parsed, since it gives their defaults."""
    for position, argument in enumerate(arguments):
        if argument.startswith("--preset="):
            return argument.split("=", 1)[1]
        if argument == "--preset" and position + 1 < len(arguments):
            return arguments[position + 1]
    return fallback
