"""From pictures to labels on a deployed network: only NumPy, Pillow and a runtime are needed."""

from __future__ import annotations

import contextlib
import warnings
from pathlib import Path
from types import TracebackType
from typing import List, NamedTuple, Optional, Sequence, Tuple, Type, Union

import numpy as np

from gearnn.engine.bundle import Bundle, is_bundle, open_bundle
from gearnn.engine.errors import EngineError
from gearnn.engine.images import SUFFIXES, UnreadableImageError, fit_array, read_image
from gearnn.engine.json_text import parse_json
from gearnn.engine.manifest import manifest_path, read_manifest
from gearnn.engine.places import network_at
from gearnn.engine.runtimes import Runtime, load_runtime

Picture = Union[str, Path, np.ndarray]


class Prediction(NamedTuple):
    """A class and its softmax probability."""

    label: str
    probability: float


class Classifier:
    """A deployed network that takes pictures of any size. Use it in a ``with`` statement, or call ``close``.

    ``predict`` may be called from several threads if the runtime's ``run`` may.

    Attributes:
        runtime: what executes it.
        labels: in the order of the logits.
    """

    def __init__(self, runtime: Runtime, labels: Sequence[str], cleanup: contextlib.ExitStack) -> None:
        channels, height, width = runtime.image_shape
        if channels not in (1, 3) or height is None or height != width:
            raise EngineError(
                f"{runtime.path} takes images of {runtime.image_shape} (C, H, W), but pictures are cut to RGB or grey squares"
            )
        self.runtime = runtime
        self.labels = tuple(labels)
        self._channels, self._size = channels, height
        self._cleanup = cleanup

    def logits(self, pictures: Sequence[Picture]) -> np.ndarray:
        """Logits float32 (N, K) of pictures: paths of image files, or uint8 arrays (H, W), (H, W, 1) or (H, W, 3).

        The shorter side is resized to the network's size and the centre cut out, as in training.

        Raises:
            EngineError: for a picture that cannot be read or has another type or shape, and whatever the runtime refuses.
        """
        if len(pictures) == 0:
            raise EngineError("there is no picture to look at: give at least one")
        pixels = np.stack([self._pixels(picture) for picture in pictures])
        fixed = self.runtime.input_shape[0]
        if fixed is None:
            return self._named(self.runtime.run(self.runtime.prepare(pixels)))
        rows = [self._fixed(pixels[start : start + fixed], fixed) for start in range(0, len(pixels), fixed)]
        return self._named(np.concatenate(rows))

    def predict(self, pictures: Sequence[Picture], topk: int = 1) -> List[List[Prediction]]:
        """The ``topk`` most probable classes of each picture, best first; see `logits`.

        Raises:
            EngineError: as `logits`, and for a ``topk`` below 1.
        """
        if topk < 1:
            raise EngineError(f"topk must be at least 1, not {topk}")
        found = []
        for row in softmax(self.logits(pictures)):
            best = np.argsort(-row, kind="stable")[:topk]
            found.append([Prediction(self.labels[place], float(row[place])) for place in best])
        return found

    def close(self) -> None:
        """Release the network; may be called twice."""
        self.runtime.close()
        self._cleanup.close()

    def _pixels(self, picture: Picture) -> np.ndarray:
        if isinstance(picture, np.ndarray):
            planes = picture[..., None] if picture.ndim == 2 else picture
            if picture.dtype != np.uint8 or planes.ndim != 3 or planes.shape[2] not in (1, 3) or 0 in planes.shape:
                got = f"{picture.dtype} {picture.shape}"
                raise EngineError(f"a picture in memory must be uint8 (height, width) or (height, width, 3), not {got}")
            return fit_array(planes.transpose(2, 0, 1), self._size, self._channels)
        try:
            return read_image(Path(picture), self._size, self._channels)[0]
        except UnreadableImageError as error:
            raise EngineError(f"{picture} cannot be used ({error}): give another picture") from error

    def _fixed(self, pixels: np.ndarray, batch: int) -> np.ndarray:
        """Through a network that takes one batch size only: the last picture is repeated to fill it."""
        filled = np.concatenate([pixels, np.repeat(pixels[-1:], batch - len(pixels), axis=0)])
        return self.runtime.run(self.runtime.prepare(filled))[: len(pixels)]

    def _named(self, logits: np.ndarray) -> np.ndarray:
        if logits.shape[1] != len(self.labels):
            raise EngineError(
                f"{self.runtime.path} tells {logits.shape[1]} classes apart, but {len(self.labels)} have names: export it again"
            )
        return logits

    def __enter__(self) -> Classifier:
        return self

    def __exit__(
        self, kind: Optional[Type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        self.close()


def load(path: Union[str, Path], precision: str = "auto", runtime: str = "auto", threads: Optional[int] = None) -> Classifier:
    """A deployed network, ready for pictures.

    Args:
        path: a bundle (folder or zip), a run folder, an ONNX file or an engine.
        precision: of a bundle: "fp32", "fp16" or "int8"; auto takes its default.
        runtime: see `gearnn.engine.load_runtime`. For a bundle, auto takes an engine that ``gearnn build`` has made in its
            folder where it can be loaded, else ONNX Runtime.
        threads: per call.

    Raises:
        EngineError: if the path holds none of these, a checksum differs, or the runtime refuses the file.
    """
    path = Path(path)
    with contextlib.ExitStack() as stack:
        if is_bundle(path):
            bundle = stack.enter_context(open_bundle(path))
            # Our zips hold no engines: one that came in a zip is not handed to TensorRT.
            engine = _built_here(bundle, precision) if path.is_dir() else None
            loaded = stack.enter_context(_from_bundle(bundle, engine, precision, runtime, threads))
            return Classifier(loaded, bundle.classes, stack.pop_all())
        if precision != "auto":
            raise EngineError(f"{path} is not a bundle, so it has one precision only: leave out the precision")
        if path.suffix.lower() in SUFFIXES and path.is_file():
            raise EngineError(f"{path} is a picture: give the network first, a bundle, a run folder, an .onnx file or an engine")
        model = network_at(path, "a bundle, a run folder, an .onnx file or an engine")
        loaded = stack.enter_context(load_runtime(model, runtime, threads))
        return Classifier(loaded, _labels(loaded), stack.pop_all())


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities float64 (N, K) of logits (N, K)."""
    shifted = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    probabilities: np.ndarray = shifted / shifted.sum(axis=1, keepdims=True)
    return probabilities


def _from_bundle(bundle: Bundle, engine: Optional[Path], precision: str, runtime: str, threads: Optional[int]) -> Runtime:
    facts = bundle.precisions.get(precision, {})
    if facts.get("ready") is False:
        warnings.warn(f"{precision} is not marked ready: {facts.get('reason') or 'see the card'}", RuntimeWarning, stacklevel=3)
    if engine is not None and runtime in ("auto", read_manifest(engine).runtime):
        try:
            return load_runtime(engine, runtime, threads)
        except EngineError as error:
            if runtime != "auto":
                raise
            warnings.warn(f"the engine in the bundle is not used: {error}", RuntimeWarning, stacklevel=3)
    return load_runtime(bundle.model(precision), runtime, threads)


def _built_here(bundle: Bundle, precision: str) -> Optional[Path]:
    """An engine of that precision that was built on this device, in the bundle's folder."""
    wanted = bundle.default if precision == "auto" else precision
    for engine in sorted(bundle.folder.glob("*.engine")):
        if manifest_path(engine).is_file() and read_manifest(engine).precision == wanted:
            return engine
    return None


def _labels(runtime: Runtime) -> Tuple[str, ...]:
    try:
        labels = parse_json(runtime.metadata["classes"])
        if not (isinstance(labels, list) and all(isinstance(label, str) for label in labels)):
            raise ValueError
    except (KeyError, ValueError) as error:
        raise EngineError(
            f"{runtime.path} does not say what its classes are called: export it with gearnn, or use gearnn.engine.load_runtime"
        ) from error
    return tuple(labels)
