"""The score: accuracy on clean images and on corrupted ones."""

from __future__ import annotations

import json
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Callable, Dict, Iterator, Mapping, Sequence, Tuple

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
    reports = benchmark_models(
        {"model": model},
        data,
        corruptions=corruptions,
        severities=severities,
        seed=seed,
        batch_size=batch_size,
        progress=progress,
    )
    return reports["model"]


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

    Each batch is corrupted once for all models and then forgotten, so memory does not grow with the data.

    Args:
        models: name → a torch module on float32 images in [0, 1] (put into evaluation mode meanwhile), an engine runtime
            (anything with ``run`` on such images), or a `Predictor`.
        data: uint8 images (N, C, H, W) and labels (N,).
        corruptions: some of `CORRUPTIONS`.
        severities: some of 1 to 5.
        seed: of the corruptions.
        batch_size: images given to a model at once.
        progress: told after every corruption and severity.

    Raises:
        UserError: for unknown or repeated corruptions or severities, no images, or a model that cannot be asked.
    """
    _check_request(data, corruptions, severities, batch_size)
    tables: Dict[str, Dict[str, Tuple[float, ...]]] = {name: {} for name in models}
    total, done = len(corruptions) * len(severities), 0
    with ExitStack() as stack:
        predictors = {name: stack.enter_context(predicting(name, model)) for name, model in models.items()}
        clean = _accuracies(predictors, data, lambda images, _: images, batch_size)
        for corruption in corruptions:
            rows: Dict[str, Tuple[float, ...]] = dict.fromkeys(models, ())
            for severity in severities:

                def change(images: np.ndarray, indices: np.ndarray, name: str = corruption, level: int = severity) -> np.ndarray:
                    return corrupt(images, name, level, seed=seed, indices=indices)

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
            severities=tuple(int(severity) for severity in severities),
            kind="generated",
            n=len(data.labels),
            seed=seed,
        )
        for name, table in tables.items()
    }


def _check_request(data: Split, corruptions: Sequence[str], severities: Sequence[int], batch_size: int) -> None:
    if not corruptions or not severities or not len(data.labels) or len(data.images) != len(data.labels):
        raise UserError(
            "a benchmark needs at least one image, a label for each, one corruption and one severity, but got "
            f"{len(data.images)} images, {len(data.labels)} labels, {len(corruptions)} corruptions, {len(severities)} severities"
        )
    if batch_size < 1:
        raise UserError(f"batch_size must be at least 1, not {batch_size}")
    for name in corruptions:
        for severity in severities:
            check(name, severity)
    if len(set(corruptions)) < len(corruptions) or len(set(severities)) < len(severities):
        raise UserError("a corruption or severity is named twice, which would weigh it twice in the mean: name each once")


@contextmanager
def predicting(name: str, model: Any) -> Iterator[Predictor]:
    """Whatever can be benchmarked, as a function of uint8 images, for the time being.

    A torch module runs without gradients, in evaluation mode, on the device of its parameters; afterwards each of its
    parts is back in its own mode.
    """
    if hasattr(model, "parameters") and hasattr(model, "modules"):
        training = [module for module in model.modules() if module.training]
        model.eval()
        try:
            yield _torch_predictor(model)
        finally:
            for module in training:
                module.training = True
    elif hasattr(model, "run"):
        prepare = getattr(model, "prepare", lambda images: images.astype(np.float32) / np.float32(255))
        yield lambda images: model.run(prepare(images))
    elif callable(model):
        yield model
    else:
        raise UserError(
            f"model {name!r} is a {type(model).__name__}, but a torch module, an engine runtime or a function is needed"
        )


def _torch_predictor(model: Any) -> Predictor:
    import torch

    device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))

    def predict(images: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            logits = model(torch.from_numpy(images).to(device).float() / 255)
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
            logits = np.asarray(predict(images))
            if logits.ndim != 2 or len(logits) != len(images):
                raise UserError(
                    f"model {name!r} gave an array {logits.shape} for {len(images)} images: it must be (images, classes)"
                )
            correct[name] += int((logits.argmax(1) == data.labels[rows]).sum())
    return {name: count / len(data.labels) for name, count in correct.items()}
