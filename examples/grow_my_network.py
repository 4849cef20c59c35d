"""Growth of a network of your own to a budget, on scikit-learn's digits: what grew, and that it computes what it did.

python examples/grow_my_network.py --params 60k --grower osg
"""

from __future__ import annotations

import argparse

import torch
from torch.utils.data import DataLoader, TensorDataset

import gearnn


def my_network() -> torch.nn.Module:
    """Any network of layers that torch.fx can trace; this one takes float32 images (B, 1, H, W)."""
    layers = []
    for before, after in ((1, 8), (8, 16), (16, 24)):
        layers += [torch.nn.Conv2d(before, after, 3, 2, 1, bias=False), torch.nn.BatchNorm2d(after), torch.nn.ReLU()]
    return torch.nn.Sequential(*layers, torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(24, 10))


def train(model: torch.nn.Module, loader: DataLoader, epochs: int) -> float:
    """Train with SGD; returns the last epoch's accuracy on what it was trained on."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    for _ in range(epochs):
        right = 0
        for images, labels in loader:
            logits = model(images)
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(logits, labels).backward()
            optimizer.step()
            right += int((logits.argmax(1) == labels).sum())
    return right / len(loader.dataset)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--params", default="20k", help="what the grown network may have")
    parser.add_argument("--grower", default="osg")
    parser.add_argument("--epochs", type=int, default=4, help="before growth, and again after it")
    options = parser.parse_args()
    torch.manual_seed(0)
    data = gearnn.load_data(image_size=16)
    images = torch.from_numpy(data.train.images).float() / 255
    loader = DataLoader(TensorDataset(images, torch.from_numpy(data.train.labels)), batch_size=64, shuffle=True)
    model = my_network()
    print(f"seed network: {train(model, loader, options.epochs):.1%}")
    grown = gearnn.grow(model, loader, gearnn.Budget(params=options.params), grower=options.grower)
    for group in grown.decision.groups:
        print(f"  {group.name}: {group.before} → {group.after} channels")
    apart = (model.eval()(images[:64]) - grown.model.eval()(images[:64])).abs().max()
    print(f"outputs differ by at most {apart:.1e} right after growth")
    print(f"grown network: {train(grown.model.train(), loader, options.epochs):.1%}")


if __name__ == "__main__":
    main()
