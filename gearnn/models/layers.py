"""Pieces that the networks share."""

from __future__ import annotations

import math

import torch
from torch import nn


def conv_bn(in_channels: int, out_channels: int, kernel: int = 3, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """Convolution without bias, then batch normalisation; "same" padding."""
    conv = nn.Conv2d(in_channels, out_channels, kernel, stride, padding=kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(out_channels))


def initialise(model: nn.Module) -> None:
    """Normal weights of variance 2 / fan-out for convolutions (He et al. 2015, arXiv 1502.01852); BatchNorm is left at 1, 0."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            # torch's own fan-out ignores groups, which would all but silence depthwise layers.
            fan_out = module.out_channels * module.kernel_size[0] * module.kernel_size[1] / module.groups
            nn.init.normal_(module.weight, std=math.sqrt(2 / fan_out))


@torch.no_grad()
def pass_on(model: nn.Module) -> None:
    """Let 3×3 convolutions that are at least as wide as their input pass it on at first; further channels stay as they are.

    A plain network then starts as a shallow one, and its gradients reach the first layers (Zagoruyko & Komodakis 2017, DiracNets,
    arXiv 1706.00388; as an initialisation: Jordan 2024, arXiv 2404.00498). Convolutions of the image itself, grouped ones and
    those that change the resolution are left alone.
    """
    for module in model.modules():
        if not isinstance(module, nn.Conv2d) or module.in_channels <= 4:
            continue
        if (module.kernel_size, module.stride, module.groups) == ((3, 3), (1, 1), 1):
            nn.init.dirac_(module.weight[: min(module.in_channels, module.out_channels)])
