"""A network on disk: safetensors weights, with all that is needed to rebuild it in their header."""

from __future__ import annotations

import importlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Dict, Mapping, Optional, Tuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from gearnn.engine.errors import reason
from gearnn.engine.json_text import parse_json
from gearnn.errors import UserError
from gearnn.files import replacing
from gearnn.models import create_model, deployable
from gearnn.seal import is_whole, sealed, settle

_LARGEST_SIZE = 1 << 20  # of a width, an image's side, a mean
_LONGEST_NAME = 100
_LARGEST_HEADER = 1 << 26  # bytes: ours have some ten thousand


@dataclass(frozen=True)
class Card:
    """What a network is and how its input is prepared: enough to rebuild it from its weights."""

    arch: str
    widths: Tuple[int, ...]
    classes: Tuple[str, ...]
    mean: Tuple[float, ...]
    std: Tuple[float, ...]
    image_size: int
    in_chans: int
    standardize: bool = False

    def to_metadata(self) -> Dict[str, str]:
        """Header strings, each JSON."""
        return {name: json.dumps(value) for name, value in asdict(self).items()}

    @staticmethod
    def from_metadata(metadata: Dict[str, str]) -> Card:
        """Inverse of `to_metadata`; raises KeyError, TypeError or ValueError for a header that is not ours."""
        names = [name for name in Card.__dataclass_fields__ if name in metadata or name != "standardize"]  # newer than the others
        values: Dict[str, Any] = {name: parse_json(metadata[name]) for name in names}
        fields: Dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
        card = Card(**fields)
        card.check()
        return card

    def check(self) -> None:
        """Raise ValueError if a field is of another type, or absurd."""
        sizes = (*self.widths, self.image_size, self.in_chans) if isinstance(self.widths, tuple) else (None,)
        sized = all(type(size) is int and 1 <= size <= _LARGEST_SIZE for size in sizes)
        named = isinstance(self.classes, tuple) and bool(self.classes) and all(isinstance(name, str) for name in self.classes)
        known = isinstance(self.arch, str) and len(self.arch) <= _LONGEST_NAME and isinstance(self.standardize, bool)
        moments = [values for values in (self.mean, self.std) if isinstance(values, tuple) and len(values) == self.in_chans]
        real = all(type(value) in (int, float) and abs(value) <= _LARGEST_SIZE for values in moments for value in values)
        if not (sized and named and known and len(moments) == 2 and real and min(self.std) > 0):
            raise ValueError("its header is not what it must be")

    def build(self) -> nn.Module:
        """An untrained network of this shape, on normalised images."""
        return create_model(self.arch, len(self.classes), self.widths, self.in_chans, standardize=self.standardize)

    def rebuild(self, tensors: Mapping[str, Tensor]) -> nn.Module:
        """The network with these weights; raises ValueError or RuntimeError if they are not its own.

        Shapes are compared before memory is taken for the network: a header can ask for any amount.
        """
        with torch.device("meta"):
            wanted = {name: tensor.shape for name, tensor in self.build().state_dict().items()}
        if wanted != {name: tensor.shape for name, tensor in tensors.items()}:
            raise ValueError("its tensors are not those that its header speaks of")
        model = self.build()
        model.load_state_dict(dict(tensors))
        return model


def save_network(path: Path, model: nn.Module, card: Card) -> None:
    """Write weights and card to one safetensors file, whole or not at all."""
    write_tensors(path, model.state_dict(), card.to_metadata())


def load_network(path: Path, card: Optional[Card] = None) -> Tuple[nn.Module, Card]:
    """Rebuild a network, on normalised images, in eval mode; nothing in the file is executed.

    ``card``: what it is, where that is known from elsewhere than its header.

    Raises:
        UserError: if the file is missing, torn, or not one of ours.
    """
    tensors, metadata = read_tensors(path)
    try:
        card = card or Card.from_metadata(metadata)
        model = card.rebuild(tensors)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise UserError(
            f"{path} does not hold a network written by this tool ({reason(error)}): train or export it again"
        ) from error
    return model.eval(), card


def load_deployable(path: Path, card: Optional[Card] = None) -> Tuple[nn.Sequential, Card]:
    """As `load_network`, with the input normalisation in front: takes images in [0, 1]."""
    model, card = load_network(path, card)
    return deployable(model, card.mean, card.std).eval(), card


def made_by(name: str, weights: Optional[Path] = None) -> nn.Module:
    """The module that the user's own function returns, named ``module:function``, with weights of a safetensors file.

    Raises:
        UserError: if there is no such function, it fails, or the weights are not the module's.
    """
    place, _, function = name.partition(":")
    try:
        model = getattr(importlib.import_module(place), function)()
    except Exception as error:
        raise UserError(
            f"{name} gave no network ({type(error).__name__}: {error}): name a module and a function without arguments"
        ) from error
    if not isinstance(model, nn.Module):
        raise UserError(f"{name} returned a {type(model).__name__}: it must return a torch module")
    if weights is not None:
        try:
            model.load_state_dict(read_tensors(weights)[0])
        except RuntimeError as error:
            first = str(error).strip().splitlines()[-1].strip()
            raise UserError(
                f"the weights in {weights} are not those of {name} ({first}): name the file that was saved from it"
            ) from error
    return model.eval()


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Dict[str, str]) -> None:
    """Write tensors and header strings to a safetensors file, whole or not at all, with a checksum among the strings.

    Raises:
        UserError: if it cannot be written.
    """
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with replacing(path) as temporary:
        try:
            save_file(plain, str(temporary), metadata=sealed(plain, metadata))
            settle(temporary)
        except SafetensorError as error:  # how the library reports a full disk
            raise OSError(str(error)) from error


def read_tensors(path: Path) -> Tuple[Dict[str, Tensor], Dict[str, str]]:
    """All tensors and header strings of a safetensors file.

    Raises:
        UserError: if the file is missing, torn, or does not agree with its checksum.
    """
    if not path.is_file():
        raise UserError(f"there is no file {path}: check the path")
    try:
        _check_header(path)
        with safe_open(str(path), framework="pt") as stored:
            names = stored.keys()  # the handle itself is not iterable
            tensors, metadata = {name: stored.get_tensor(name) for name in names}, dict(stored.metadata() or {})
        whole = is_whole(tensors, metadata)
    except (SafetensorError, OSError, ValueError, TypeError, RuntimeError, OverflowError) as error:
        raise UserError(f"{path} is not a readable safetensors file ({reason(error)}): restore it or train again") from error
    if not whole:
        raise UserError(f"{path} has been altered, since its checksum is not that of its content: restore it or train again")
    return tensors, metadata


def _check_header(path: Path) -> None:
    """Raise ValueError if the length that a safetensors file states for its header is absurd, or more than there is."""
    size = path.stat().st_size
    with path.open("rb") as stream:
        stated = int.from_bytes(stream.read(8), "little")
    if stated > min(_LARGEST_HEADER, size - 8):
        raise ValueError("its header is longer than it can be")
