"""``gearnn info``: what this installation and this machine can do."""

from __future__ import annotations

import importlib.util
from dataclasses import asdict, dataclass
from typing import Any, Dict, List

from gearnn.commands.parsing import parse, print_json


@dataclass(frozen=True)
class InfoArguments:
    """What this installation and this machine can do: versions, device, and which parts are ready.

    Examples:

      gearnn info

      gearnn info --json
    """

    seed: int = 0
    """Taken by every command; here nothing is drawn, so it changes nothing."""
    device: str = "auto"
    """Ask for one device, cpu or cuda: if it cannot be had, the command says why and exits with 2."""
    json: bool = False
    """Print the facts on standard output as JSON."""


# What each part needs to import, and what installs it.
PARTS = {
    "deploy (ONNX Runtime)": (("numpy", "PIL", "onnxruntime"), "pip install gearnn"),
    "train": (("torch", "safetensors", "onnx", "scipy", "cv2", "sklearn", "numba"), "pip install 'gearnn[train]'"),
    "report": (("plotly",), "pip install 'gearnn[report]'"),
}


def main(arguments: List[str]) -> int:
    """Print the facts."""
    options = parse(InfoArguments, arguments, "info")
    if options.device not in ("auto", "cpu"):
        from gearnn.device import choose_device

        choose_device(options.device)
    facts = gather()
    if options.json:
        print_json(facts)
        return 0
    print(f"gearnn {facts['versions']['gearnn']} on {facts['device']['name']}, {facts['device']['cores']} cores")
    print(", ".join(f"{name} {version}" for name, version in sorted(facts["versions"].items()) if name != "gearnn"))
    for name, part in facts["parts"].items():
        print(f"  {name:<24}{'ready' if part['ready'] else 'missing ' + ', '.join(part['missing']) + ': ' + part['cure']}")
    print(f"  {'training on CUDA':<24}{facts['cuda']}")
    print("runtimes")
    for name, state in facts["runtimes"].items():
        print(f"  {name:<24}{state}")
    print("kernel back ends")
    for name, probe in facts["kernels"].items():
        print(f"  {name:<24}{'ready: ' + probe['reason'] if probe['ready'] else probe['reason'] + '; ' + probe['cure']}")
    return 0


def gather() -> Dict[str, Any]:
    """Versions, device, parts, kernel back ends and whether torch sees a GPU; imports torch only if it is there."""
    from gearnn import __version__
    from gearnn.engine.environment import environment
    from gearnn.engine.runtimes import probe as probe_runtimes
    from gearnn.kernels.registry import probes

    facts = environment()
    parts = {}
    for name, (modules, cure) in PARTS.items():
        missing = [module for module in modules if importlib.util.find_spec(module) is None]
        parts[name] = {"ready": not missing, "missing": missing, "cure": cure}
    return {
        **facts,
        "versions": {"gearnn": __version__, **facts["versions"]},
        "parts": parts,
        "cuda": _cuda(),
        "runtimes": probe_runtimes(),
        "kernels": {name: asdict(state) for name, state in probes().items()},
    }


def _cuda() -> str:
    if importlib.util.find_spec("torch") is None:
        return "torch is not installed"
    import torch

    if not torch.cuda.is_available():
        built = torch.version.cuda
        return "torch sees no GPU" if built else "this torch is built for the CPU only"
    return f"ready: {torch.cuda.get_device_name(0)}"
