"""What comes out of ERA and PRIME, and what is refused when they are made."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

from gearnn.era import ERA
from gearnn.prime import PRIME


@pytest.mark.parametrize("kind", [ERA, PRIME])
def test_normalised_narrow_and_channels_last(kind: type) -> None:
    images = (torch.arange(4 * 3 * 12 * 10).view(4, 3, 12, 10) * 7 % 256).to(torch.uint8)
    mean, std = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)
    plain = kind()(images, seed=0)
    made = kind(mean=mean, std=std, dtype=torch.float16, memory_format=torch.channels_last)(images, seed=0)
    assert made.dtype == torch.float16 and made.flatten(0, 1).is_contiguous(memory_format=torch.channels_last)
    expected = (plain - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
    torch.testing.assert_close(made.float(), expected, rtol=1e-3, atol=2e-3)


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ({"dtype": torch.float64}, "dtype must be"),
        ({"backend": "nope"}, "backend must be auto or one of"),
        ({"mean": [0.5] * 3}, "both or neither"),
        ({"memory_format": torch.preserve_format}, "memory_format must be"),
    ],
)
def test_output_settings_are_refused_at_once(output: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ERA(**output)


class Compose(nn.Module):
    """Calls its parts as torchvision.transforms.v2.Compose does."""

    def __init__(self, *transforms: Any) -> None:
        super().__init__()
        self.transforms = transforms

    def forward(self, *inputs: Any) -> Any:
        several = len(inputs) > 1
        for transform in self.transforms:
            outputs = transform(*inputs)
            inputs = outputs if several else (outputs,)
        return outputs


class Image(torch.Tensor):
    """As torchvision.tv_tensors.Image, a tensor whose type outlives operations on it."""


def _scale(images: Any, *others: Any) -> Any:
    """As v2.ToDtype(torch.float32, scale=True) on either form of a sample."""
    if isinstance(images, tuple):
        return (images[0].float() / 255, *images[1:])
    return (images.float() / 255, *others) if others else images.float() / 255


def _images() -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (6, 3, 12, 10), dtype=np.uint8))


@pytest.mark.parametrize("kind", [ERA, PRIME])
def test_stands_in_a_compose_with_whatever_goes_with_the_images(kind: type) -> None:
    images, labels, era = _images(), torch.arange(6), kind(views=3)

    def seeded(call: Any) -> Any:
        torch.manual_seed(0)
        return call()

    expected = seeded(lambda: era(images))
    pipeline = Compose(_scale, era)
    assert torch.equal(seeded(lambda: pipeline(images)), expected)
    views, same = seeded(lambda: pipeline(images, labels))
    assert torch.equal(views, expected) and same is labels
    views, same, more = seeded(lambda: pipeline((images, labels, {"id": 3})))
    assert torch.equal(views, expected) and same is labels and more == {"id": 3}
    one = seeded(lambda: era([images[0].as_subclass(Image), 7]))
    assert type(one[0]) is torch.Tensor and one[0].shape == (3, 3, 12, 10) and one[1:] == (7,)


class Pictures:
    """A data set as torchvision's: a transform of its own for each sample."""

    def __init__(self, transform: Any) -> None:
        self.transform = transform

    def __len__(self) -> int:
        return 6

    def __getitem__(self, index: int) -> Any:
        return self.transform(_images()[index].as_subclass(Image), index)


def test_samples_come_out_of_a_loaders_workers() -> None:
    torch.manual_seed(0)
    era = pickle.loads(pickle.dumps(ERA(views=3, memory_format=torch.channels_last)))  # as to a spawned worker
    loader = DataLoader(Pictures(Compose(_scale, era)), batch_size=3, num_workers=1)
    batches = list(loader)
    assert [views.shape for views, _ in batches] == [(3, 3, 3, 12, 10)] * 2  # (B, J, C, H, W)
    assert torch.cat([labels for _, labels in batches]).tolist() == list(range(6))
    clean = torch.cat([views[:, 0] for views, _ in batches])
    torch.testing.assert_close(clean, _images() / 255, rtol=0, atol=0)
    assert not torch.equal(next(iter(loader))[0][:, 1], batches[0][0][:, 1])  # another epoch, other draws


def test_pictures_that_are_no_tensors_are_told_the_way() -> None:
    with pytest.raises(ValueError, match="PILToTensor"):
        ERA()([_images().numpy(), 3])
