"""Input normalisation as the first layer, so that a deployed network takes plain [0, 1] images."""

from __future__ import annotations

from typing import Sequence

import torch
from torch import Tensor, nn


class Normalize(nn.Module):
    """Per-channel ``(x - mean) / std`` for float images (B, C, H, W) in [0, 1]; mean and std have C entries.

    Raises:
        ValueError: if mean and std differ in length or a std is not positive.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        if len(mean) != len(std) or min(std) <= 0:
            raise ValueError(f"mean and std need one entry per channel, std above 0: got mean {mean} and std {std}")
        self.register_buffer("mean", torch.tensor(list(mean), dtype=torch.float32).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(list(std), dtype=torch.float32).view(1, -1, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        return (images - self.mean) / self.std


class Standardize(nn.Module):
    """Takes each image's own mean off it and divides by its standard deviation, both over channels and pixels: images
    (B, C, H, W). ``epsilon`` is added to the variance.

    Written out, with means along one axis after the other, since torch's GroupNorm and ONNX Runtime's InstanceNormalization add
    up thousands of like values in one float32: on nearly white pictures logits of the two were apart by 1e-4 to 1e-1.
    """

    def __init__(self, epsilon: float) -> None:
        super().__init__()
        self.epsilon = epsilon

    def forward(self, images: Tensor) -> Tensor:
        centred = images - _mean(images)
        return centred / (_mean(centred * centred) + self.epsilon).sqrt()


def _mean(images: Tensor) -> Tensor:
    """Of each image (B, C, H, W): (B, 1, 1, 1)."""
    return images.mean(3, keepdim=True).mean(2, keepdim=True).mean(1, keepdim=True)


def deployable(model: nn.Module, mean: Sequence[float], std: Sequence[float]) -> nn.Sequential:
    """The network as it is deployed: float32 images in [0, 1] (B, C, H, W) → logits (B, K)."""
    return nn.Sequential(Normalize(mean, std), model)
