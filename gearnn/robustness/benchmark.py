"""The score: accuracy on clean images and on corrupted ones."""

from __future__ import annotations

from contextlib import ExitStack, closing, contextmanager
from typing import TYPE_CHECKING, Any, Callable, Dict, Iterator, Mapping, Optional, Sequence, Tuple

import numpy as np

from gearnn.errors import UserError
from gearnn.progress import Progress, no_progress
from gearnn.robustness.cache import CorruptionCache
from gearnn.robustness.corruptions import CORRUPTIONS, SEVERITIES, check
from gearnn.robustness.generated import Generated, slices
from gearnn.robustness.report import Report, Tally, summary

if TYPE_CHECKING:
    from gearnn.data import Split
    from gearnn.robustness.official import Official

Predictor = Callable[[np.ndarray], np.ndarray]
"""uint8 images (N, C, H, W) → logits (N, K)."""


def benchmark(
    model: Any,
    data: Split,
    *,
    corruptions: Sequence[str] = CORRUPTIONS,
    severities: Sequence[int] = SEVERITIES,
    seed: int = 0,
    batch_size: int = 256,
    official: Optional[Official] = None,
    cache: Optional[CorruptionCache] = None,
    workers: int = 1,
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
        official=official,
        cache=cache,
        workers=workers,
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
    official: Optional[Official] = None,
    cache: Optional[CorruptionCache] = None,
    workers: int = 1,
    progress: Progress = no_progress,
) -> Dict[str, Report]:
    """Clean and robust accuracy (Hendrycks & Dietterich, ICLR 2019) of several models on the very same corrupted images.

    Each batch is made once for all models and then forgotten, so memory does not grow with the data.

    Args:
        models: name → a torch module on float32 images in [0, 1] (put into evaluation mode meanwhile), an engine runtime
            (anything with ``run`` on such images), or a `Predictor`. They give logits, before any softmax.
        data: uint8 images (N, C, H, W) and labels (N,).
        corruptions: some of `ALL_CORRUPTIONS`, at least one of `CORRUPTIONS`; the extra ones are reported apart.
        severities: some of 1 to 5.
        seed: of the corruptions and of the bootstrap.
        batch_size: images given to a model at once.
        official: published files, from `open_official`, instead of generated images; ``data`` is for clean accuracy then.
        cache: where generated images are kept; see `corruption_cache`. By default nowhere.
        workers: threads that generate. No result depends on it.
        progress: told after every corruption and severity.

    Raises:
        UserError: for unknown or repeated corruptions or severities, no images, files that are missing or not what they
            should be, or a model that cannot be asked.
    """
    _check_request(data, corruptions, severities, batch_size)
    source = official or Generated(data.images, data.labels, seed=seed, cache=cache, workers=workers)
    cells = [(corruption, int(severity)) for corruption in corruptions for severity in severities]
    source.check(cells)
    clean = {name: Tally(len(data.labels)) for name in models}
    corrupted = {name: {cell: Tally(len(source.labels)) for cell in cells} for name in models}
    with ExitStack() as stack:
        predictors = {name: stack.enter_context(predicting(name, model)) for name, model in models.items()}
        for rows in slices(len(data.labels), batch_size):
            for name, logits in _ask(predictors, np.array(data.images[rows])):
                clean[name].add(rows, logits, data.labels[rows])
        # Closed even if a model fails, so that no half-written file stays behind.
        batches = stack.enter_context(closing(source.batches(cells, batch_size)))
        for batch in batches:
            labels = source.labels[batch.rows]
            for name, logits in _ask(predictors, batch.images):
                corrupted[name][batch.cell].add(batch.rows, logits, labels)
            if batch.rows.stop == len(source.labels):
                progress("robustness", cells.index(batch.cell) + 1, len(cells))
    return {
        name: summary(clean[name], corrupted[name], kind=source.kind, parameters=source.parameters, seed=seed) for name in models
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
    if not set(corruptions) & set(CORRUPTIONS):
        raise UserError(
            f"robust accuracy leaves out {', '.join(corruptions)}: name at least one of the 15 corruptions beside them"
        )


def _ask(predictors: Mapping[str, Predictor], images: np.ndarray) -> Iterator[Tuple[str, np.ndarray]]:
    """The logits (n, K) that each predictor gives for images (n, C, H, W)."""
    for name, predict in predictors.items():
        logits = np.asarray(predict(images))
        if logits.ndim != 2 or len(logits) != len(images):
            raise UserError(f"model {name!r} gave an array {logits.shape} for {len(images)} images: it must be (images, classes)")
        yield name, logits


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
