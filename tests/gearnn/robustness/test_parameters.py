"""The published sets: complete, and chosen by size."""

from __future__ import annotations

from typing import Tuple

import numpy as np
import pytest

from gearnn.robustness import ALL_CORRUPTIONS, SEVERITIES, corrupt, parameter_set
from gearnn.robustness.parameters import PARAMETERS, SIDES, pixel_scale, published, reference_sides


@pytest.mark.parametrize(
    ("side", "name"),
    [
        *((side, "cifar") for side in (8, 32, 48)),
        *((side, "tiny-imagenet") for side in (49, 64, 128)),
        *((side, "imagenet") for side in (129, 224, 512)),
    ],
)
def test_the_size_chooses_the_set(side: int, name: str) -> None:
    assert parameter_set(side) == name


def test_every_set_has_every_corruption_at_five_severities() -> None:
    assert list(PARAMETERS) == list(SIDES)
    for levels in PARAMETERS.values():
        assert tuple(levels) == ALL_CORRUPTIONS
        assert all(len(values) == len(SEVERITIES) for values in levels.values())
        assert all(len({len(value) for value in values}) == 1 for values in levels.values())


@pytest.mark.parametrize(
    ("name", "severity", "cifar", "tiny", "imagenet"),
    [
        ("gaussian_noise", 5, (0.10,), (0.18,), (0.38,)),
        ("shot_noise", 4, (75,), (30,), (5,)),
        ("impulse_noise", 3, (0.03,), (0.05,), (0.09,)),
        ("defocus_blur", 4, (1.0, 0.2), (2.5, 0.01), (8, 0.5)),
        ("glass_blur", 5, (0.4, 1, 2), (0.9, 2, 2), (1.5, 4, 2)),
        ("motion_blur", 2, (6, 1.5), (10, 1.5), (15, 5)),
        ("zoom_blur", 5, (1.26, 0.01), (1.26, 0.01), (1.31, 0.03)),
        (
            "snow",
            4,
            (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
            (0.25, 0.3, 2.25, 0.6, 12, 6, 0.65),
            (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65),
        ),
        ("frost", 3, (0.9, 0.4), (0.8, 0.45), (0.7, 0.7)),
        ("fog", 3, (0.75, 2.5), (1, 2.5), (2.5, 1.7)),
        ("brightness", 1, (0.05,), (0.1,), (0.1,)),
        ("contrast", 5, (0.15,), (0.05,), (0.05,)),
        ("elastic_transform", 2, (0.05, 0.2, 0.07), (0.05, 0.3, 0.06), (488 / 224, 19.52 / 224, 48.8 / 224)),
        ("pixelate", 4, (0.75,), (0.6,), (0.3,)),
        ("jpeg_compression", 1, (80,), (65,), (25,)),
        ("speckle_noise", 5, (0.2,), (0.35,), (0.6,)),
        ("gaussian_blur", 2, (0.6,), (0.75,), (2,)),
        ("spatter", 4, (0.65, 0.1, 0.7, 0.69, 0.6, 1), (0.65, 0.1, 0.7, 0.68, 0.6, 1), (0.65, 0.3, 1, 0.65, 1.5, 1)),
        ("saturate", 5, (2.5, 0.2), (30, 0.2), (20, 0.2)),
    ],
)
def test_published_values(name: str, severity: int, cifar: tuple, tiny: tuple, imagenet: tuple) -> None:
    for side, expected in ((32, cifar), (64, tiny), (224, imagenet)):
        assert published(np.zeros((1, 3, side, side)), name, severity) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("height", "width", "scale", "sides"),
    [
        (32, 32, 1, (32, 32)),
        (16, 24, 0.5, (32, 48)),
        (48, 48, 1.5, (32, 32)),
        (96, 128, 1.5, (64, 85)),
        (448, 224, 1, (448, 224)),
    ],
)
def test_lengths_scale_with_the_shorter_side(height: int, width: int, scale: float, sides: Tuple[int, int]) -> None:
    images = np.zeros((1, 3, height, width))
    assert pixel_scale(images) == scale
    assert reference_sides(images) == sides


def test_each_set_is_stronger_on_the_same_kind_of_image() -> None:
    """Larger images hide fine noise when they are looked at small, so the published noise grows with the size."""
    rng = np.random.default_rng(0)
    errors = []
    for side in (48, 49, 129):
        images = rng.integers(96, 160, (2, 3, side, side), dtype=np.uint8)
        errors.append(np.std(corrupt(images, "gaussian_noise", 2).astype(float) - images) / 255)
    np.testing.assert_allclose(errors, (0.06, 0.08, 0.12), rtol=0.03)
