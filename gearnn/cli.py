"""The command line: ``gearnn COMMAND``. Results go to standard output, progress and errors to standard error."""

from __future__ import annotations

import difflib
import importlib
import os
import sys
import warnings
from typing import Callable, Dict, List, NamedTuple, Optional

from gearnn.engine.errors import EngineError
from gearnn.errors import UserError
from gearnn.kernels.errors import KernelError
from gearnn.openmp import wait_briefly


class Command(NamedTuple):
    """Where a command lives and what it does, so that a command's own imports are paid only when it is called."""

    module: str
    summary: str


COMMANDS: Dict[str, Command] = {
    "run": Command("gearnn.commands.run", "train, grow, make robust, measure and deploy a network on your images"),
    "demo": Command("gearnn.commands.demo", "the same on scikit-learn's digits: no data needed, a few minutes"),
    "evaluate": Command("gearnn.commands.evaluate", "clean and robust accuracy of a network or an ONNX file"),
    "export": Command("gearnn.commands.export", "write a trained network as ONNX"),
    "build": Command("gearnn.commands.build", "a TensorRT engine for this device, with a manifest"),
    "compare": Command("gearnn.commands.compare", "do torch, an ONNX file and an engine agree, and from which layer on not"),
    "profile": Command("gearnn.commands.profile", "latency percentiles of an ONNX file on this machine"),
    "bundle": Command("gearnn.commands.bundle", "one folder or zip for a device: each precision, judged on its engine"),
    "predict": Command("gearnn.commands.predict", "what pictures show, on a deployed network"),
    "watch": Command("gearnn.commands.watch", "how far a run is, live, or what came of it"),
    "report": Command("gearnn.commands.report", "write report.html of a run folder anew"),
    "compare-runs": Command("gearnn.commands.compare_runs", "one page for several runs: figures, curves, corruptions, options"),
    "bench": Command("gearnn.commands.bench", "time kernels, growers and the engine beside their peers on this machine"),
    "info": Command("gearnn.commands.info", "what this installation and this machine can do"),
}


def main(arguments: Optional[List[str]] = None) -> int:
    """Run one command; returns the exit code: 0, 2 for what the user can put right, 130 after Ctrl-C, 141 where nobody
    reads on."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_overview())
        return 0
    if arguments[0] == "--version":
        from gearnn import __version__

        print(f"gearnn {__version__}")
        return 0
    name = arguments[0]
    if name not in COMMANDS:
        close = difflib.get_close_matches(name, COMMANDS, n=1)
        hint = f"did you mean {close[0]!r}?" if close else "see gearnn --help."
        print(f"error: there is no command {name!r}: {hint}", file=sys.stderr)
        return 2
    wait_briefly()
    long_form, warnings.formatwarning = warnings.formatwarning, _one_line
    try:
        command: Callable[[List[str]], int] = importlib.import_module(COMMANDS[name].module).main
        code = command(arguments[1:])
        sys.stdout.flush()
        return code
    except BrokenPipeError:  # whoever read the output has gone, as head does
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # or the interpreter would complain of the rest when it ends
        return 141
    except (UserError, EngineError, KernelError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; a run goes on from its last epoch with --resume", file=sys.stderr)
        return 130
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] in ("gearnn", "engine", "kernels"):
            raise
        print(f"error: gearnn {name} needs the package {error.name!r}: pip install 'gearnn[train,report]'", file=sys.stderr)
        return 2
    finally:
        warnings.formatwarning = long_form


def _one_line(message: object, *rest: object, **options: object) -> str:
    """A warning without the line of code that gave it."""
    return f"warning: {message}\n"


def _overview() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {command.summary}" for name, command in COMMANDS.items()]
    return "\n".join(
        [
            "usage: gearnn COMMAND [OPTIONS]",
            "",
            "Grow small, robust networks on the device that holds the data.",
            "",
            "commands:",
            *lines,
            "",
            "examples:",
            "  gearnn demo",
            "  gearnn run --data photos/ --arch mobilenet_v1 --preset quick --out runs/photos",
            "  gearnn COMMAND --help",
        ]
    )
