"""MobileNet-V1 in its 32×32 form."""

from __future__ import annotations

from typing import List, Sequence

from torch import Tensor, nn

from gearnn.models.layers import conv_bn, initialise

FULL_WIDTHS = (32, 64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512, 1024, 1024)
STRIDES = (1, 1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1)


class MobileNetV1(nn.Module):
    """A 3×3 stem, then thirteen depthwise-separable convolutions (Howard et al. 2017, arXiv 1704.04861).

    One width for the stem and for each pointwise convolution; depthwise ones follow. The stem keeps the resolution
    (stride 1), as is usual at 32×32.
    """

    def __init__(self, widths: Sequence[int], num_classes: int, in_chans: int) -> None:
        super().__init__()
        self.standardize: nn.Module = nn.Identity()
        layers: List[nn.Module] = [conv_bn(in_chans, widths[0], stride=STRIDES[0]), nn.ReLU(inplace=True)]
        self.width_layers = ["features.0.0"]
        channels = widths[0]
        for width, stride in zip(widths[1:], STRIDES[1:]):
            layers += [conv_bn(channels, channels, stride=stride, groups=channels), nn.ReLU(inplace=True)]
            self.width_layers.append(f"features.{len(layers)}.0")
            layers += [conv_bn(channels, width, kernel=1), nn.ReLU(inplace=True)]
            channels = width
        self.features = nn.Sequential(*layers)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(channels, num_classes)
        initialise(self)

    def forward(self, images: Tensor) -> Tensor:
        return self.classifier(self.pool(self.features(self.standardize(images))).flatten(1))
