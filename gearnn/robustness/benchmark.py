"""The score: accuracy on clean images and on corrupted ones."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Callable, Dict, Mapping, Sequence, Tuple

import numpy as np

from gearnn.errors import UserError
from gearnn.progress import Progress, no_progress
from gearnn.robustness.corruptions import CORRUPTIONS, SEVERITIES, check, corrupt

if TYPE_CHECKING:
    from gearnn.data import Split

Predictor = Callable[[np.ndarray], np.ndarray]
"""uint8 images (N, C, H, W) → logits (N, K)."""


@dataclass(frozen=True)
class Report:
    """Accuracies as fractions.

    Attributes:
        clean: on the images as they are.
        robust: mean over all corruptions and severities.
        per_corruption: name → accuracy at each of ``severities``.
        kind: "generated": the corruptions were made here, with the published parameters; not the official files.
        n: images per corruption and severity.
        seed: of the corruptions.
    """

    clean: float
    robust: float
    per_corruption: Dict[str, Tuple[float, ...]]
    severities: Tuple[int, ...]
    kind: str
    n: int
    seed: int

    def to_dict(self) -> Dict[str, Any]:
        """JSON-ready."""
        plain: Dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return plain

    def to_json(self) -> str:
        """The report as JSON text."""
        return json.dumps(asdict(self), indent=2)


def benchmark(
    model: Any,
    data: Split,
    *,
    corruptions: Sequence[str] = CORRUPTIONS,
    severities: Sequence[int] = SEVERITIES,
    seed: int = 0,
    batch_size: int = 256,
    progress: Progress = no_progress,
) -> Report:
    """Clean and robust accuracy of one model; see `benchmark_models`."""
    models = {"model": model}
    options = {"corruptions": corruptions, "severities": severities, "seed": seed, "batch_size": batch_size}
    return benchmark_models(models, data, progress=progress, **options)["model"]  # type: ignore[arg-type]


def benchmark_models(
    models: Mapping[str, Any],
    data: Split,
    *,
    corruptions: Sequence[str] = CORRUPTIONS,
    severities: Sequence[int] = SEVERITIES,
    seed: int = 0,
    batch_size: int = 256,
    progress: Progress = no_progress,
) -> Dict[str, Report]:
    """Clean and robust accuracy (Hendrycks & Dietterich, ICLR 2019) of several models on the very same corrupted images.

    Args:
        models: name → a torch module on float32 images in [0, 1], an engine runtime, or a `Predictor`.
        data: uint8 images (N, C, H, W) and labels (N,).

    Raises:
        UserError: for unknown corruptions or severities, or no images.
    """
    for name in corruptions:
        for severity in severities:
            check(name, severity)
    if not len(data.labels) or not corruptions or not severities:
        raise UserError("a benchmark needs at least one image, one corruption and one severity")
    predictors = {name: as_predictor(model) for name, model in models.items()}
    clean = _accuracies(predictors, data, lambda images, _: images, batch_size)
    tables: Dict[str, Dict[str, Tuple[float, ...]]] = {name: {} for name in models}
    total, done = len(corruptions) * len(severities), 0
    for corruption in corruptions:
        rows: Dict[str, Tuple[float, ...]] = dict.fromkeys(models, ())
        for severity in severities:

            def change(images: np.ndarray, indices: np.ndarray, severity: int = severity, name: str = corruption) -> np.ndarray:
                return corrupt(images, name, severity, seed=seed, indices=indices)

            for name, value in _accuracies(predictors, data, change, batch_size).items():
                rows[name] += (value,)
            done += 1
            progress("robustness", done, total)
        for name, row in rows.items():
            tables[name][corruption] = row
    return {
        name: Report(
            clean=clean[name],
            robust=float(np.mean(list(table.values()))),
            per_corruption=table,
            severities=tuple(severities),
            kind="generated",
            n=len(data.labels),
            seed=seed,
        )
        for name, table in tables.items()
    }


def as_predictor(model: Any) -> Predictor:
    """Whatever can be benchmarked, as a function of uint8 images."""
    if hasattr(model, "run"):
        return lambda images: model.run(images.astype(np.float32) / np.float32(255))
    if hasattr(model, "parameters"):
        return _torch_predictor(model)
    predictor: Predictor = model
    return predictor


def _torch_predictor(model: Any) -> Predictor:
    import torch

    device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))

    def predict(images: np.ndarray) -> np.ndarray:
        was_training = model.training
        model.eval()
        try:
            with torch.no_grad():
                logits = model(torch.from_numpy(images).to(device).float() / 255)
        finally:
            model.train(was_training)
        return np.asarray(logits.float().cpu().numpy())

    return predict


def _accuracies(
    predictors: Mapping[str, Predictor], data: Split, change: Callable[[np.ndarray, np.ndarray], np.ndarray], batch_size: int
) -> Dict[str, float]:
    """Accuracy of each predictor on changed images, batch by batch, so that memory stays bounded."""
    correct = dict.fromkeys(predictors, 0)
    for start in range(0, len(data.labels), batch_size):
        rows = slice(start, min(start + batch_size, len(data.labels)))
        images = change(np.array(data.images[rows]), np.arange(rows.start, rows.stop))
        for name, predict in predictors.items():
            correct[name] += int((predict(images).argmax(1) == data.labels[rows]).sum())
    return {name: count / len(data.labels) for name, count in correct.items()}
