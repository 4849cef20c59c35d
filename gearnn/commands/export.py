"""``gearnn export``: a trained network as ONNX."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import List, Optional

import tyro
from typing_extensions import Annotated

from gearnn.commands.parsing import parse, print_json


@dataclass(frozen=True)
class ExportArguments:
    """Write a trained network as ONNX, compare the engine with torch on random images, and say where it is.

    The network takes float32 images in [0, 1], (batch, channels, height, width), under the name "images".

    Examples:

      gearnn export runs/demo --out demo.onnx

      gearnn export runs/photos/networks/seed.safetensors --out seed.onnx --opset 17
    """

    network: Annotated[Path, tyro.conf.Positional]
    """Run folder or .safetensors."""
    out: Path = Path("model.onnx")
    opset: int = 13
    """13 to 17; TensorRT 8.5 surely reads 13."""
    seed: int = 0
    """Of the images it is compared on."""
    device: str = "cpu"
    """Exporting needs no GPU: cpu."""
    threads: Optional[int] = None
    json: bool = False
    """Print the facts on standard output as JSON."""


def main(arguments: List[str]) -> int:
    """Export and print."""
    options = parse(ExportArguments, arguments, "export")
    import numpy as np

    from gearnn.device import choose_device, set_threads
    from gearnn.errors import UserError
    from gearnn.measure import deploy
    from gearnn.network import load_network

    if choose_device(options.device).type != "cpu":
        raise UserError("export runs on the CPU: leave out --device")
    set_threads(options.threads)
    path = options.network / "model.safetensors" if options.network.is_dir() else options.network
    _, card = load_network(path)
    shape = (64, card.in_chans, card.image_size, card.image_size)
    images = np.random.default_rng(options.seed).random(shape, dtype=np.float32)
    facts = {"onnx": str(options.out), **deploy(path, options.out, images, options.threads, options.opset)}
    if options.json:
        print_json(facts)
    else:
        gap = facts["comparison"]["max_abs"]
        print(f"{options.out}: opset {options.opset}, {facts['onnx_bytes']:,} bytes; at most {gap:.1e} from torch")
    return 0
