"""``gearnn demo``: the main job on data that comes with scikit-learn."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import List

from gearnn.commands.run import RunArguments, chosen, execute, preset_in
from gearnn.presets import preset


@dataclass(frozen=True)
class DemoArguments(RunArguments):
    """The main job on scikit-learn's digits: 1,797 real scans, no download, a few minutes on two cores.

    It also trains a clean network of the final size, to show beside it what ERA gave. Where $GEARNN_DATA or --data names other
    data, those are taken.

    Examples:

      gearnn demo

      gearnn demo --out runs/demo --seed 1 --json
    """


def main(arguments: List[str]) -> int:
    """Run the demo; the options are those of ``gearnn run``."""
    default = replace(preset(preset_in(arguments, "demo")), out=Path("runs/demo"))
    return execute(chosen(DemoArguments(default), arguments, "demo"), "demo", arguments)
