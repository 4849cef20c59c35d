"""Networks by name."""

from __future__ import annotations

import difflib
import fnmatch
from dataclasses import dataclass
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

import torch
from torch import nn

from gearnn.errors import UserError
from gearnn.models import mobilenet, resnet, vgg
from gearnn.models.normalize import Standardize
from gearnn.plugins import MODELS, find_plugin, plugin_names

STANDARDIZE_EPSILON = 1e-2
"""Added to an image's variance, of normalised values: flat images are not blown up to noise."""

Builder = Callable[[Sequence[int], int, int], nn.Module]


@dataclass(frozen=True)
class Entry:
    """A registered network: ``build(widths, num_classes, in_chans)`` and the widths of its full-size form.

    The built module names, in its attribute ``width_layers``, the layer whose output channels each width sets. If it has a module
    ``standardize`` that sees the images first, an identity, that can be replaced (see `create_model`).
    """

    build: Builder
    full_widths: Tuple[int, ...]


_ENTRIES: Dict[str, Entry] = {
    "mobilenet_v1": Entry(mobilenet.MobileNetV1, mobilenet.FULL_WIDTHS),
    "resnet18": Entry(resnet.ResNet18, resnet.FULL_WIDTHS),
    "vgg19": Entry(vgg.VGG19, vgg.FULL_WIDTHS),
}


def register_model(name: str, build: Builder, full_widths: Sequence[int]) -> None:
    """Make another network available to `create_model` under ``name`` in this process; see `Entry` for what ``build`` must offer.

    A package that is installed does it for every process by an entry point in the group ``gearnn.models`` that names an `Entry`.
    """
    _ENTRIES[name] = Entry(build, tuple(full_widths))


def list_models(pattern: str = "*") -> List[str]:
    """The names of the known networks that match a shell pattern, those of installed packages included, sorted."""
    return sorted(fnmatch.filter({*_ENTRIES, *plugin_names(MODELS)}, pattern))


def full_widths(name: str) -> Tuple[int, ...]:
    """The layer widths of the published, full-size network."""
    return _entry(name).full_widths


def scaled_widths(name: str, multiplier: float, round_to: int = 8) -> Tuple[int, ...]:
    """The full widths times ``multiplier``, each rounded to the nearest multiple of ``round_to`` (at least one).

    Raises:
        UserError: if ``multiplier`` is not positive.
    """
    if multiplier <= 0:
        raise UserError(f"the width multiplier must be above 0, not {multiplier}: 0.125 gives one eighth of the full widths")
    return tuple(max(round_to, round(width * multiplier / round_to) * round_to) for width in full_widths(name))


def create_model(
    name: str, num_classes: int, widths: Optional[Sequence[int]] = None, in_chans: int = 3, *, standardize: bool = False
) -> nn.Module:
    """Build a network that maps normalised float images (B, in_chans, H, W), H and W in 16…224, to logits (B, num_classes).

    ``widths`` gives the channels of each layer (or of each residual stream); None takes the full-size ones. Weights are
    drawn from torch's default generator. With ``standardize``, the network first takes each image's own mean off it and divides
    it by its own deviation, so that brightness and contrast matter little.

    Raises:
        UserError: for an unknown name (with suggestions), a wrong number of widths, a width below 1, or a network that offers
            no ``standardize``.
    """
    entry = _entry(name)
    widths = entry.full_widths if widths is None else tuple(int(width) for width in widths)
    if len(widths) != len(entry.full_widths) or min(widths) < 1:
        raise UserError(f"{name} takes {len(entry.full_widths)} widths of at least 1 channel, not {list(widths)}")
    if num_classes < 2 or in_chans < 1:
        raise UserError(f"a classifier needs at least 2 classes and 1 input channel, not {num_classes} and {in_chans}")
    model = entry.build(widths, num_classes, in_chans)
    if standardize:
        if not isinstance(getattr(model, "standardize", None), nn.Module):
            raise UserError(f"{name} cannot standardize its images: choose another --arch, or --no-standardize")
        model.standardize = Standardize(STANDARDIZE_EPSILON)
    return model


def widths_of(model: nn.Module) -> Tuple[int, ...]:
    """The present widths of a network made by `create_model`, grown or not: what `create_model` needs to rebuild it."""
    layers: Sequence[str] = model.width_layers  # type: ignore[assignment]
    return tuple(int(model.get_submodule(layer).out_channels) for layer in layers)  # type: ignore[arg-type]


def count_parameters(model: nn.Module) -> int:
    """The number of learnable parameters."""
    return sum(parameter.numel() for parameter in model.parameters())


@torch.no_grad()
def count_macs(model: nn.Module, shape: Tuple[int, int, int]) -> int:
    """Multiply-accumulates of convolutions and linear layers for one image (C, H, W), in evaluation mode."""
    counts: List[int] = []

    def count(layer: nn.Module, _: Any, output: torch.Tensor) -> None:
        weight: torch.Tensor = layer.weight  # type: ignore[assignment]
        # Every output element of a layer takes as many as the layer has weights per output channel.
        counts.append(output.numel() * weight.numel() // len(weight))

    layers = [layer for layer in model.modules() if isinstance(layer, (nn.Conv2d, nn.Linear))]
    handles = [layer.register_forward_hook(count) for layer in layers]
    device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    training = [module for module in model.modules() if module.training]
    try:
        model.eval()(torch.zeros(1, *shape, device=device))
    finally:
        for handle in handles:
            handle.remove()
        for module in training:
            module.training = True
    return sum(counts)


def _entry(name: str) -> Entry:
    entry = _ENTRIES.get(name) or find_plugin(MODELS, name, Entry)
    if entry is None:
        known = list_models()
        close = difflib.get_close_matches(name.lower(), known, n=2, cutoff=0.3)
        hint = f"did you mean {' or '.join(close)}?" if close else "there is no similar name."
        raise UserError(f"there is no network called {name!r}: {hint} (Known: {', '.join(known)})")
    return entry
