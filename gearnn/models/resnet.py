"""ResNet-18 in its 32×32 form."""

from __future__ import annotations

from typing import List, Sequence

from torch import Tensor, nn

from gearnn.models.layers import conv_bn, initialise

# For each of the four stages: the residual stream, then the inner width of its two blocks.
FULL_WIDTHS = (64, 64, 64, 128, 128, 128, 256, 256, 256, 512, 512, 512)


class BasicBlock(nn.Module):
    """Two 3×3 convolutions beside a shortcut, which is a 1×1 projection where the stage begins (stride 2)."""

    def __init__(self, in_channels: int, inner: int, stream: int, stride: int) -> None:
        super().__init__()
        self.reduce = conv_bn(in_channels, inner, stride=stride)
        self.expand = conv_bn(inner, stream)
        self.shortcut = conv_bn(in_channels, stream, kernel=1, stride=stride) if stride > 1 else nn.Identity()
        self.relu = nn.ReLU(inplace=True)

    def forward(self, images: Tensor) -> Tensor:
        return self.relu(self.expand(self.relu(self.reduce(images))) + self.shortcut(images))


class ResNet18(nn.Module):
    """A 3×3 stem and four stages of two basic blocks (He et al. 2016, arXiv 1512.03385).

    Three widths per stage: its residual stream and the inner width of each block. The stem writes the first stream.
    """

    def __init__(self, widths: Sequence[int], num_classes: int, in_chans: int) -> None:
        super().__init__()
        self.standardize: nn.Module = nn.Identity()
        channels = widths[0]
        self.stem = nn.Sequential(conv_bn(in_chans, channels), nn.ReLU(inplace=True))
        self.width_layers: List[str] = []
        stages: List[nn.Module] = []
        for stage in range(4):
            stream, *inners = widths[3 * stage : 3 * stage + 3]
            self.width_layers.append(f"stages.{stage}.0.expand.0" if stage else "stem.0.0")
            blocks: List[nn.Module] = []
            for index, inner in enumerate(inners):
                stride = 2 if stage and index == 0 else 1
                blocks.append(BasicBlock(channels, inner, stream, stride))
                self.width_layers.append(f"stages.{stage}.{index}.reduce.0")
                channels = stream
            stages.append(nn.Sequential(*blocks))
        self.stages = nn.Sequential(*stages)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(channels, num_classes)
        initialise(self)

    def forward(self, images: Tensor) -> Tensor:
        return self.classifier(self.pool(self.stages(self.stem(self.standardize(images)))).flatten(1))
