"""``gearnn compare``: do two executions of one network agree, and if not, from which layer on?"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, List, NamedTuple, Optional

import tyro
from typing_extensions import Annotated

from gearnn.commands.parsing import parse, print_json

if TYPE_CHECKING:
    import numpy as np

    from gearnn.engine.parting import LayerDifference

TOLERANCES = {"fp32": 1e-4, "fp16": 2e-2, "int8": 0.3}
"""Of the L2 norm of the differences over that of the reference, by the lower precision of the two: rounding in FP32 gives 1e-6,
FP16's 11 bits 1e-3 a layer, INT8's 256 steps a few hundredths a layer."""
_ENGINES = (".engine", ".plan", ".trt")


@dataclass(frozen=True)
class CompareArguments:
    """Run two executions of one network on the same images: differences of the logits, and the first layer where they part.

    Each is a run folder or .safetensors (torch), an .onnx file, or a TensorRT engine; it may take float32 images or uint8 pixels.
    Layers are compared between torch and ONNX or two ONNX files; an engine shows none of its own.

    Examples:

      gearnn compare runs/demo runs/demo/model.onnx

      gearnn compare model.onnx model.int8.onnx --data photos/ --limit 500 --json

      gearnn compare model.onnx model.engine --check
    """

    reference: Annotated[Path, tyro.conf.Positional]
    candidate: Annotated[Path, tyro.conf.Positional]
    data: Optional[Path] = None
    """Images to compare on, as for gearnn run (its test images); by default random pixels."""
    limit: int = 256
    """Images, at most."""
    tolerance: Optional[float] = None
    """Of a layer's relative difference; by default 1e-4, with FP16 0.02, with INT8 0.3."""
    layers: bool = True
    """Look for the first layer where they part."""
    check: bool = False
    """Exit with 1 if the logits' relative difference is above the tolerance."""
    seed: int = 0
    """Of random pixels, or of the choice among --data."""
    device: str = "cpu"
    """For torch: cpu or cuda."""
    threads: Optional[int] = None
    json: bool = False
    """Print {"metadata", "results"} on standard output as JSON."""


class Side(NamedTuple):
    """One execution: from uint8 images (N, C, H, W) to logits, and what its layers can be asked of."""

    run: Callable[[np.ndarray], np.ndarray]
    prepare: Callable[[np.ndarray], np.ndarray]
    shape: Any
    precision: str
    name: str
    onnx: Optional[Path]
    torch: Any


def main(arguments: List[str]) -> int:
    """Compare and print."""
    options = parse(CompareArguments, arguments, "compare")
    from gearnn.engine.compare import compare
    from gearnn.engine.errors import EngineError

    sides = [_side(path, options) for path in (options.reference, options.candidate)]
    first, second = sides
    if first.shape != second.shape:
        raise EngineError(
            f"{options.reference} takes images {first.shape} and {options.candidate} {second.shape} (C, H, W): no network is both"
        )
    images, source = _images(options, first.shape)
    found = compare(first.run, second.run, images, batch_size=32)
    tolerance = options.tolerance if options.tolerance is not None else max(TOLERANCES[side.precision] for side in sides)
    relative = _relative(first.run(images[:32]), second.run(images[:32]))
    rows = _layers(first, second, images[:8]) if options.layers else None
    place = _first(rows, tolerance)
    agrees = relative <= tolerance
    if options.json:
        metadata = {
            "reference": first.name,
            "candidate": second.name,
            "images": source,
            "seed": options.seed,
            "tolerance": tolerance,
        }
        parted = asdict(rows[place]) if rows and place is not None else None
        results = {
            **asdict(found),
            "relative": relative,
            "agrees": agrees,
            "parts_at": parted,
            "layers": [asdict(row) for row in rows or ()],
        }
        print_json({"metadata": metadata, "results": _finite(results)})
    else:
        print(f"{first.name} against {second.name}, {found.n} images ({source})")
        print(f"  logits: max abs {found.max_abs:.3g}, mean abs {found.mean_abs:.3g}")
        print(
            f"  relative: max {found.max_rel:.3g}, mean {found.mean_rel:.3g}, of the whole {relative:.3g} (allowed {tolerance:g})"
        )
        print(f"  cosine {found.cosine:.7f}, same class {found.top1_agreement:.2%}, worst image {found.worst}")
        print("\n".join(_told(rows, place, tolerance)))
    return 1 if options.check and not agrees else 0


def _side(path: Path, options: CompareArguments) -> Side:
    if path.is_dir() or path.suffix == ".safetensors":
        return _torch_side(path / "model.safetensors" if path.is_dir() else path, options)
    from gearnn.engine.runtimes import load_runtime

    runtime = load_runtime(path, threads=options.threads)
    precision = runtime.metadata.get("precision", "fp32")
    onnx = None if path.suffix in _ENGINES else path
    known = precision if precision in TOLERANCES else "fp32"
    return Side(
        lambda images: runtime.run(runtime.prepare(images)), runtime.prepare, runtime.image_shape, known,
        f"{path} ({runtime.name} {runtime.version}, {known})", onnx, None,
    )  # fmt: skip


def _torch_side(path: Path, options: CompareArguments) -> Side:
    import numpy as np
    import torch

    from gearnn.device import choose_device, set_threads
    from gearnn.network import load_deployable

    set_threads(options.threads)
    device = choose_device(options.device)
    model, card = load_deployable(path)
    model = model.to(device)

    def prepare(images: np.ndarray) -> np.ndarray:
        return images.astype(np.float32) / np.float32(255)

    def run(images: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return np.asarray(model(torch.from_numpy(prepare(images)).to(device)).cpu().numpy())

    name = f"{path} (torch {torch.__version__}, fp32)"
    return Side(run, prepare, (card.in_chans, card.image_size, card.image_size), "fp32", name, None, model)


def _images(options: CompareArguments, shape: Any) -> Any:
    """uint8 (N, C, H, W) and where they are from."""
    from gearnn.engine.errors import EngineError

    if None in shape or shape[1] != shape[2]:
        raise EngineError(f"the networks take images of {shape} (C, H, W): comparing needs one square size")
    if options.data is None:
        from numpy.random import default_rng

        return default_rng(options.seed).integers(
            0, 256, (options.limit, *shape), dtype="uint8"
        ), f"random pixels, seed {options.seed}"
    import numpy as np

    from gearnn.console import console_progress
    from gearnn.data import load_data

    with console_progress() as progress:
        dataset = load_data(
            options.data,
            image_size=shape[1],
            limit_train=options.limit,
            limit_test=options.limit,
            seed=options.seed,
            progress=progress,
        )
    if dataset.in_chans != shape[0]:
        raise EngineError(
            f"the images of {dataset.name} have {dataset.in_chans} channels, the networks take {shape[0]}: name other data"
        )
    return np.ascontiguousarray(dataset.test.images), f"test images of {dataset.name}"


def _layers(first: Side, second: Side, images: np.ndarray) -> Optional[List[LayerDifference]]:
    """Differences at each layer, where both sides can be asked; None otherwise."""
    from gearnn.engine.parting import differences_of_files, differences_to_torch

    prepared = (first.prepare(images), second.prepare(images))
    if first.onnx and second.onnx:
        return differences_of_files(first.onnx, second.onnx, prepared)
    if first.torch is not None and second.onnx:
        return differences_to_torch(first.torch.cpu(), second.onnx, prepared)
    if second.torch is not None and first.onnx:
        return differences_to_torch(second.torch.cpu(), first.onnx, prepared[::-1])
    return None


def _first(rows: Optional[List[LayerDifference]], tolerance: float) -> Optional[int]:
    from gearnn.engine.parting import parting

    return parting(rows, tolerance) if rows else None


def _told(rows: Optional[List[LayerDifference]], place: Optional[int], tolerance: float) -> List[str]:
    """The layers in a few lines: those around where they part, or the worst."""
    if rows is None:
        return ["  layers: not compared (these two do not show them; compare the ONNX files they were made from)"]
    if not rows:
        return ["  layers: not compared"]
    if place is None:
        worst = max(rows, key=lambda row: row.relative)
        furthest = f"the furthest is {worst.node} ({worst.relative:.2g})"
        return [f"  layers: none of {len(rows)} is off by more than {tolerance:g}; {furthest}"]
    lines = [f"  they part at {rows[place].node}" + (f", module {rows[place].module}" if rows[place].module else "") + ":"]
    lines.append(f"  {'layer':<48}{'op':<20}{'max abs':>10}{'relative':>10}")
    for position in range(max(0, place - 2), min(len(rows), place + 3)):
        row = rows[position]
        lines.append(f"{'> ' if position == place else '  '}{row.node:<48}{row.op:<20}{row.max_abs:>10.3g}{row.relative:>10.3g}")
    return lines


def _relative(wanted: np.ndarray, got: np.ndarray) -> float:
    import numpy as np

    return float(np.linalg.norm(got.astype(np.float64) - wanted) / np.linalg.norm(wanted.astype(np.float64)))


def _finite(value: Any) -> Any:
    """The same without numbers that JSON lacks."""
    if isinstance(value, dict):
        return {name: _finite(entry) for name, entry in value.items()}
    if isinstance(value, list):
        return [_finite(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
