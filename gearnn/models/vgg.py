"""VGG-19 with batch normalisation and a single linear classifier, in its 32×32 form."""

from __future__ import annotations

from typing import List, Sequence

from torch import Tensor, nn

from gearnn.models.layers import conv_bn, initialise

STAGES = (2, 2, 4, 4, 4)
FULL_WIDTHS = (64, 64, 128, 128, 256, 256, 256, 256, 512, 512, 512, 512, 512, 512, 512, 512)


class VGG19(nn.Module):
    """Sixteen 3×3 convolutions in five stages (Simonyan & Zisserman 2015, arXiv 1409.1556), one width each.

    The last pooling is global, which at 32×32 is the usual 2×2 one, so that inputs from 16 to 224 pixels work.
    """

    def __init__(self, widths: Sequence[int], num_classes: int, in_chans: int) -> None:
        super().__init__()
        self.standardize: nn.Module = nn.Identity()
        layers: List[nn.Module] = []
        self.width_layers: List[str] = []
        remaining = iter(widths)
        for stage, depth in enumerate(STAGES):
            if stage:
                layers.append(nn.MaxPool2d(2))
            for _ in range(depth):
                width = next(remaining)
                self.width_layers.append(f"features.{len(layers)}.0")
                layers += [conv_bn(in_chans, width), nn.ReLU(inplace=True)]
                in_chans = width
        self.features = nn.Sequential(*layers)
        self.pool = nn.AdaptiveMaxPool2d(1)
        self.classifier = nn.Linear(in_chans, num_classes)
        initialise(self)

    def forward(self, images: Tensor) -> Tensor:
        return self.classifier(self.pool(self.features(self.standardize(images))).flatten(1))
