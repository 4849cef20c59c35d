"""ERA in a plain PyTorch training loop, on scikit-learn's digits: robust accuracy before and after.

python examples/era_in_my_loop.py --epochs 15
"""

from __future__ import annotations

import argparse

import torch

import gearnn
from gearnn.losses import consistency_loss

CORRUPTIONS = ("gaussian_noise", "defocus_blur", "fog", "jpeg_compression")


class Network(torch.nn.Sequential):
    """Float32 images (B, 1, H, W) in [0, 1] → logits (B, 10)."""

    def __init__(self) -> None:
        layers = []
        for before, after in ((1, 16), (16, 32), (32, 64)):
            layers += [torch.nn.Conv2d(before, after, 3, 2, 1, bias=False), torch.nn.BatchNorm2d(after), torch.nn.ReLU()]
        super().__init__(*layers, torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(64, 10))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--limit", type=int, help="training and test images; all if not given")
    options = parser.parse_args()
    torch.manual_seed(0)
    data = gearnn.load_data(image_size=16, limit_train=options.limit, limit_test=options.limit)
    images, labels = torch.from_numpy(data.train.images), torch.from_numpy(data.train.labels)

    era = gearnn.ERA(views=4, pad=1)  # uint8 images in, float32 views (J, B, C, H, W) in [0, 1] out
    model = Network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    for epoch in range(options.epochs):
        model.train()
        for indices in torch.randperm(len(images)).split(64):
            views = era(images[indices], indices=indices, epoch=epoch, seed=0)
            logits = model(views.flatten(0, 1)).unflatten(0, views.shape[:2])
            loss = consistency_loss(logits, labels[indices])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    report = gearnn.benchmark(model.eval(), data.test, corruptions=CORRUPTIONS, severities=(1, 3, 5))
    print(f"clean {report.clean:.1%}, robust {report.robust:.1%} ({report.n} images)")


if __name__ == "__main__":
    main()
