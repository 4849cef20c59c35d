"""``gearnn export``: a trained network, or any torch module, as ONNX; or a trained one as a folder for Hugging Face's hub."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, Literal, Optional, Tuple

import tyro
from typing_extensions import Annotated

from gearnn.commands.parsing import parse, print_json

_ONNX_ONLY = ("opset", "uint8", "batch", "shape", "weights", "classes")


@dataclass(frozen=True)
class ExportArguments:
    """Write a network as ONNX, compare the engine with torch on random images, and say where it is; or as a Hugging Face folder.

    The file takes float32 images (batch, channels, height, width) under the name "images", in [0, 1] for this project's networks;
    with --uint8 it takes pixels (batch, height, width, channels) and prepares them itself.

    A network of your own is named as module:function. The function is called without arguments and returns the torch module;
    it is imported from the current folder or from what is installed.

    --format huggingface writes config.json, model.safetensors and README.md, a model card with the run's figures; gearnn.load
    reads such a folder. Nothing is sent anywhere.

    Examples:

      gearnn export runs/demo --out demo.onnx

      gearnn export runs/demo --format huggingface --out demo-network

      gearnn export runs/photos/networks/seed.safetensors --out seed.onnx --opset 17 --uint8

      gearnn export my_models:make_net --shape 3 224 224 --weights net.safetensors --out net.onnx
    """

    network: Annotated[str, tyro.conf.Positional]
    """Run folder, .safetensors, or module:function."""
    format: Literal["onnx", "huggingface"] = "onnx"
    """A file for the engine, or a folder for Hugging Face's hub; the folder is made of a finished run."""
    out: Optional[Path] = None
    """By default model.onnx; or for a folder, the run's name with -huggingface after it."""
    opset: int = 13
    """13 to 17; TensorRT 8.5 surely reads 13."""
    uint8: bool = False
    """Take uint8 images with their channels last; the division by 255 becomes part of the network."""
    batch: Optional[int] = None
    """Fix the batch size, as TensorRT's DLA wants it; by default any."""
    shape: Optional[Tuple[int, int, int]] = None
    """Channels, height and width; for module:function."""
    weights: Optional[Path] = None
    """.safetensors to load into the module; for module:function."""
    classes: Optional[Tuple[str, ...]] = None
    """Names, in the order of the outputs, to be stored in the file; for module:function."""
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
    from gearnn.device import choose_device, set_threads
    from gearnn.errors import UserError

    if choose_device(options.device).type != "cpu":
        raise UserError("export runs on the CPU: leave out --device")
    set_threads(options.threads)
    if options.format == "huggingface":
        return _folder(options)
    out = options.out or Path("model.onnx")
    facts = {"onnx": str(out), **(_own(options, out) if ":" in options.network else _trained(options, out))}
    if options.json:
        print_json(facts)
    else:
        gap = facts["comparison"]["max_abs"]
        print(f"{out}: opset {options.opset}, {facts['onnx_bytes']:,} bytes; at most {gap:.1e} from torch")
    return 0


def _folder(options: ExportArguments) -> int:
    """A run's final network with its model card."""
    from gearnn.errors import UserError
    from gearnn.huggingface import write_huggingface

    plain = ExportArguments(options.network)
    given = [name for name in _ONNX_ONLY if getattr(options, name) != getattr(plain, name)]
    if given:
        raise UserError(f"--{given[0]} is for ONNX: leave it out with --format huggingface")
    run = Path(options.network)
    if not run.is_dir():
        raise UserError(f"--format huggingface takes a run folder, whose figures go into the model card, not {options.network}")
    facts = write_huggingface(run, options.out or Path(f"{run.resolve().name}-huggingface"))
    if options.json:
        print_json(facts)
    else:
        print(f"{facts['folder']}: {', '.join(facts['files'])}")
    return 0


def _trained(options: ExportArguments, out: Path) -> Dict[str, Any]:
    """A network that this project has trained."""
    from gearnn.errors import UserError
    from gearnn.measure import deploy, random_images
    from gearnn.network import load_network
    from gearnn.run_facts import check_finished

    given = [name for name in ("shape", "weights", "classes") if getattr(options, name) is not None]
    if given:
        raise UserError(f"--{given[0]} is for a module:function; {options.network} says so itself: leave it out")
    network = Path(options.network)
    if network.is_dir():
        check_finished(network)
    path = network / "model.safetensors" if network.is_dir() else network
    _, card = load_network(path)
    images = random_images((card.in_chans, card.image_size, card.image_size), options.seed)
    return deploy(path, out, images, options.threads, options.opset, pixels=options.uint8, batch=options.batch)


def _own(options: ExportArguments, out: Path) -> Dict[str, Any]:
    """A torch module made by the user's own function."""
    import json
    import sys

    from gearnn.errors import UserError
    from gearnn.measure import deploy_module, random_images
    from gearnn.network import made_by

    if options.shape is None:
        raise UserError(f"--shape is needed for {options.network}: give channels, height and width, such as --shape 3 224 224")
    sys.path.insert(0, "")  # as python -m does
    model = made_by(options.network, options.weights)
    strings = {"classes": json.dumps(list(options.classes))} if options.classes else {}
    images = random_images(options.shape, options.seed)
    return deploy_module(
        model, options.shape, out, images, options.threads, options.opset,
        pixels=options.uint8, batch=options.batch, metadata=strings,
    )  # fmt: skip
