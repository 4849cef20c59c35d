"""``gearnn predict``: what pictures show."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Tuple

import tyro
from typing_extensions import Annotated

from gearnn.commands.parsing import parse, print_json

_TOGETHER = 32  # pictures per call


@dataclass(frozen=True)
class PredictArguments:
    """The most probable classes of pictures, on a deployed network; no torch needed.

    A picture that cannot be read is named, the others are still looked at, and the exit code is 2.

    Examples:

      gearnn predict photos.zip cat.jpg dog.jpg --topk 3

      gearnn predict runs/demo photos/ --json
    """

    network: Annotated[Path, tyro.conf.Positional]
    """Bundle (folder or zip), run folder, .onnx or .engine."""
    pictures: Annotated[Tuple[Path, ...], tyro.conf.Positional]
    """Image files, or folders of them."""
    topk: int = 1
    precision: str = "auto"
    """Of a bundle: fp32, fp16 or int8; auto takes its default."""
    runtime: str = "auto"
    """auto, onnxruntime, tensorrt or tensorrt_rtx."""
    threads: Optional[int] = None
    json: bool = False
    """Print {"metadata", "results"} on standard output as JSON."""


def main(arguments: List[str]) -> int:
    """Predict and print."""
    options = parse(PredictArguments, arguments, "predict")
    from gearnn.engine.errors import EngineError
    from gearnn.engine.predict import load

    results: List[Dict[str, Any]] = []
    failed = 0
    pictures = list(_files(options.pictures))
    if not pictures:
        where = f" in {', '.join(map(str, options.pictures))}" if options.pictures else ""
        raise EngineError(f"there are no image files{where}: give images or folders of them, after the network")
    with load(options.network, options.precision, options.runtime, options.threads) as network:
        for start in range(0, len(pictures), _TOGETHER):
            together = pictures[start : start + _TOGETHER]
            try:
                rows = network.predict(together, options.topk)
            except EngineError:
                rows = []
                for picture in together:  # one by one, to lose only the one that is at fault
                    try:
                        rows += network.predict([picture], options.topk)
                    except EngineError as error:
                        rows.append([])
                        failed += 1
                        print(f"error: {error}", file=sys.stderr)
            for picture, row in zip(together, rows):
                results.append({"picture": str(picture), "predictions": [prediction._asdict() for prediction in row]})
                if row and not options.json:
                    print(f"{picture}: " + ", ".join(f"{label} {probability:.1%}" for label, probability in row))
        runtime = network.runtime
        metadata = {
            "network": str(options.network),
            "runtime": runtime.name,
            "version": runtime.version,
            "threads": runtime.threads,
        }
    if options.json:
        print_json({"metadata": metadata, "results": results})
    return 2 if failed else 0


def _files(paths: Tuple[Path, ...]) -> Iterator[Path]:
    """Files as they are given, and those in folders that look like images, in the order of their names."""
    from gearnn.engine.images import SUFFIXES

    for path in paths:
        if path.is_dir():
            yield from sorted(found for found in path.rglob("*") if found.suffix.lower() in SUFFIXES and found.is_file())
        else:
            yield path
