"""The torch formulation of PRIME, primitive by primitive."""

from __future__ import annotations

import pytest
import torch

from gearnn.bench import torch_prime
from gearnn.bench.pictures import textured


@pytest.fixture()
def images() -> torch.Tensor:
    return torch.from_numpy(textured(4, 24, 0)).float() / 255


@pytest.mark.parametrize("name", ["diffeomorphism", "colour", "random_filter"])
def test_primitives_change_images_within_the_range(name: str, images: torch.Tensor) -> None:
    changed = getattr(torch_prime, name)(images, torch.Generator().manual_seed(0), 20)
    assert changed.shape == images.shape and changed.min() >= 0 and changed.max() <= 1
    assert (changed - images).abs().mean() > 1e-3


def test_one_field_moves_the_whole_batch(images: torch.Tensor) -> None:
    same = images[:1].expand(4, -1, -1, -1)
    generator = torch.Generator().manual_seed(0)
    moved = torch_prime.diffeomorphism(same, generator, 20)
    assert all(torch.equal(image, moved[0]) for image in moved)
    assert not torch.equal(torch_prime.random_filter(same, generator, 20)[0], torch_prime.random_filter(same, generator, 20)[1])


def test_colour_is_a_function_of_the_level(images: torch.Tensor) -> None:
    changed = torch_prime.colour(images, torch.Generator().manual_seed(1), 20)
    before, after = images[0, 0].flatten(), changed[0, 0].flatten()
    for level in before.unique():
        assert after[before == level].unique().numel() == 1


def test_the_views_follow_the_generator(images: torch.Tensor) -> None:
    first, again = (torch_prime.prime_views(images, torch.Generator().manual_seed(3)) for _ in range(2))
    assert first.shape == (3, *images.shape) and torch.equal(first, again) and torch.equal(first[0], images)
    assert first.min() >= 0 and first.max() <= 1 + 1e-6
    assert (first[1] - first[2]).abs().mean() > 0.01
