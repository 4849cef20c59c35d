"""``gearnn bundle``: all that a device needs, in one folder or zip."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import List, Literal, Optional, Tuple

import tyro
from typing_extensions import Annotated

from gearnn.commands.parsing import parse, print_json
from gearnn.quantities import number_of


@dataclass(frozen=True)
class BundleArguments:
    """Make a run's network at each precision, judge each on its engine, and pack them: one folder or zip to copy to a device.

    A precision whose clean or robust accuracy is more than --max-drop points below FP32's, and surely not by chance of the test
    images, is packed, but not marked ready. On the device, gearnn predict BUNDLE needs no torch, and gearnn build BUNDLE makes a
    TensorRT engine.

    Examples:

      gearnn bundle runs/demo --out demo.zip

      gearnn bundle runs/photos --out photos.bundle --precisions fp32 int8 --max-drop 0.5 --keep-worst 3

      gearnn bundle runs/photos --out photos.zip --uint8 --severities 1 3 5 --limit-test 500
    """

    run: Annotated[Path, tyro.conf.Positional]
    """Run folder."""
    out: Optional[Path] = None
    """Folder, or zip by its name; by default the run's name with .bundle, in the current folder."""
    overwrite: bool = False
    """Replace a bundle that is there already."""
    precisions: Tuple[str, ...] = ("fp32", "fp16", "int8")
    max_drop: float = 1.0
    """Points that clean and robust accuracy may each lie below FP32's."""
    keep: Tuple[str, ...] = ()
    """ONNX nodes that INT8 leaves in floating point."""
    keep_worst: int = 0
    """Leave up to so many more in floating point, the most sensitive first, until INT8 loses no more than allowed."""
    calibration_images: int = 512
    """Training images that INT8's ranges are taken from."""
    int8_for: Literal["tensorrt", "onnxruntime"] = "tensorrt"
    """Where INT8 is to be fast: ONNX Runtime runs both kinds, TensorRT refuses the other."""
    uint8: bool = False
    """The networks take uint8 images with their channels last, and prepare them themselves."""
    data: Optional[Path] = None
    """Where the run's images are now; by default where they were."""
    limit_test: Optional[int] = None
    """Judge on at most this many test images; by default as many as the run did."""
    severities: Tuple[int, ...] = (1, 2, 3, 4, 5)
    """Of the corruptions they are judged on."""
    name: Optional[str] = None
    """Of the network; by default the run folder's."""
    seed: Optional[int] = None
    """Of the calibration images and the corruptions; by default the run's."""
    device: str = "cpu"
    """cpu: bundles are made and judged in ONNX Runtime."""
    threads: Optional[int] = None
    json: bool = False
    """Print the verdicts on standard output as JSON."""


def main(arguments: List[str]) -> int:
    """Bundle and print the verdicts."""
    options = parse(BundleArguments, arguments, "bundle")
    from gearnn.bundling import BundleOptions, bundle_run
    from gearnn.console import console_progress
    from gearnn.device import set_threads
    from gearnn.engine.bundle import check_free
    from gearnn.errors import UserError
    from gearnn.gate import table
    from gearnn.run_facts import check_finished

    if options.device != "cpu":
        raise UserError("bundles are made on the CPU: leave out --device, and use gearnn build on the device itself")
    set_threads(options.threads)
    chosen = BundleOptions(
        options.precisions, options.max_drop, options.keep, options.keep_worst, options.calibration_images, options.uint8,
        options.data, options.limit_test, options.severities, options.threads, options.name, options.seed,
        options.int8_for,
    )  # fmt: skip
    out = options.out or Path(f"{options.run.resolve().name}.bundle")
    check_finished(options.run)
    check_free(out, options.overwrite)
    with console_progress() as progress:
        made = bundle_run(options.run, out, chosen, progress)
    if options.json:
        print_json(
            {"metadata": made["conditions"], "results": made["precisions"], "out": made["out"], "default": made["default"]}
        )
        return 0
    print("\n".join(table(made["precisions"])))
    print(f"p50 at batch 1 on {number_of(made['conditions']['threads'], 'thread')}.")
    print(f"\n{made['out']}: default {made['default']}; gearnn predict {made['out']} PICTURE")
    return 0
