"""Pieces that the networks share."""

from __future__ import annotations

import math

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
