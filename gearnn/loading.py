"""A network out of a local folder or file, with its classes and how its images are prepared; nothing that is read is executed."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import List, NamedTuple, Optional, Sequence, Tuple, Type, TypeVar, Union

import numpy as np
import torch
from torch import nn

from gearnn.engine.bundle import is_bundle
from gearnn.engine.predict import Classifier, Picture, Prediction
from gearnn.engine.runtimes.base import Runtime
from gearnn.errors import UserError
from gearnn.huggingface import CONFIG, WEIGHTS, is_huggingface, read_card
from gearnn.network import load_deployable

Self = TypeVar("Self", bound="_Torch")


class Preprocessing(NamedTuple):
    """How pictures become a network's input.

    Attributes:
        image_size: H = W, in pixels: the shorter side is resized to it, and the centre cut out.
        in_chans: C; 1 is grey, 3 is RGB.
        mean, std: per channel, of images in [0, 1]. A loaded network subtracts and divides by itself.
    """

    image_size: int
    in_chans: int
    mean: Tuple[float, ...]
    std: Tuple[float, ...]


class LoadedNetwork(NamedTuple):
    """What `load` gives back: ``network, classes, preprocessing = gearnn.load(path)``.

    Attributes:
        network: float32 images in [0, 1] (B, C, H, W) → logits (B, K), in evaluation mode, on the CPU. Its first part is a
            `gearnn.models.Normalize`.
        classes: names, in the order of the logits.
        preprocessing: see `Preprocessing`.
    """

    network: nn.Sequential
    classes: Tuple[str, ...]
    preprocessing: Preprocessing

    def logits(self, pictures: Sequence[Picture]) -> np.ndarray:
        """Logits float32 (N, K) of pictures: paths of image files, or uint8 arrays (H, W) or (H, W, 3) of any size.

        Raises:
            EngineError: for a picture that cannot be used.
        """
        return self._classifier().logits(pictures)

    def predict(self, pictures: Sequence[Picture], topk: int = 1) -> List[List[Prediction]]:
        """The ``topk`` most probable classes of each picture, best first, each with its label and probability; see `logits`."""
        return self._classifier().predict(pictures, topk)

    def _classifier(self) -> Classifier:
        """The engine's way with pictures, on torch."""
        return Classifier(_Torch(self.network, self.preprocessing), self.classes, contextlib.ExitStack())


def load(path: Union[str, Path]) -> LoadedNetwork:
    """A network with its classes and preprocessing.

    Args:
        path: on this machine, since nothing is downloaded: a finished run's folder, a .safetensors file out of one, or a folder
            in Hugging Face's form, as ``gearnn export --format huggingface`` writes it.

    Raises:
        UserError: one sentence, if there is no such thing, or it is damaged.
    """
    path = Path(path)
    if not path.exists():
        raise UserError(f"there is no {path} on this machine: give a run folder, a .safetensors file or a downloaded folder")
    if path.suffix.lower() in (".onnx", ".engine", ".zip") or is_bundle(path):
        raise UserError(f"{path} is for a runtime, not for torch: use gearnn.engine.load")
    if path.is_dir() and not (path / WEIGHTS).is_file():
        raise UserError(f"there is no {WEIGHTS} in {path}: is it a run folder, and has the run been finished (--resume)?")
    described = read_card(path / CONFIG) if path.is_dir() and is_huggingface(path) else None
    network, card = load_deployable(path / WEIGHTS if path.is_dir() else path, described)
    return LoadedNetwork(network, card.classes, Preprocessing(card.image_size, card.in_chans, card.mean, card.std))


class _Torch(Runtime):
    """A torch module behind the engine's interface."""

    name = "torch"

    def __init__(self, network: nn.Module, preprocessing: Preprocessing) -> None:
        size = preprocessing.image_size
        super().__init__(Path("network"), torch.__version__, torch.get_num_threads(), (None, preprocessing.in_chans, size, size))
        self._network = network

    @classmethod
    def load(cls: Type[Self], path: Union[str, Path], threads: Optional[int] = None) -> Self:
        found = load(path)
        return cls(found.network, found.preprocessing)

    @torch.no_grad()
    def _run(self, images: np.ndarray) -> np.ndarray:
        device = next(self._network.parameters()).device
        logits: np.ndarray = self._network(torch.from_numpy(images).to(device)).float().cpu().numpy()
        return logits

    def close(self) -> None:
        pass
