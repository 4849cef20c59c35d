"""Affine maps of the geometric operations: against hand-worked points, and what an image's pixels do in Pillow."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from gearnn.kernels.affine import affine_matrices, fixed_point
from gearnn.kernels.era_plan import OPERATIONS


def _map(name: str, arg: float, height: int = 20, width: int = 30) -> np.ndarray:
    return affine_matrices(np.array([OPERATIONS.index(name)]), np.array([arg]), (height, width))[0].reshape(2, 3)


@pytest.mark.parametrize(
    ("name", "arg", "expected"),
    [
        ("shear_x", 0.25, [[1, 0.25, 0], [0, 1, 0]]),
        ("shear_y", -0.5, [[1, 0, 0], [-0.5, 1, 0]]),
        ("translate_x", 7, [[1, 0, 7], [0, 1, 0]]),
        ("translate_y", -3, [[1, 0, 0], [0, 1, -3]]),
        ("equalize", 5, [[1, 0, 0], [0, 1, 0]]),
        ("rotate", 0, [[1, 0, 0], [0, 1, 0]]),
    ],
)
def test_each_operation_has_its_matrix(name: str, arg: float, expected: object) -> None:
    np.testing.assert_array_equal(_map(name, arg), expected)


def test_a_step_without_operation_stays_in_place() -> None:
    np.testing.assert_array_equal(affine_matrices(np.array([-1]), np.array([4.0]), (5, 5)), [[1, 0, 0, 0, 1, 0]])
    assert affine_matrices(np.empty(0, np.int32), np.empty(0, np.float32), (5, 5)).shape == (0, 6)


def test_a_quarter_turn_is_about_the_middle_and_counter_clockwise() -> None:
    turn = _map("rotate", 90)
    np.testing.assert_allclose(turn @ [15, 10, 1], [15, 10], atol=1e-12)
    # What is a step to the right of the middle afterwards was a step below it (y points downwards).
    np.testing.assert_allclose(turn @ [16, 10, 1], [15, 11], atol=1e-12)


def test_pillow_takes_the_same_pixels() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30), np.uint8)
    image = Image.fromarray(pixels)
    for angle in (17.0, -29.0):
        matrix = tuple(_map("rotate", angle).ravel())
        ours = image.transform(image.size, Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR)
        np.testing.assert_array_equal(np.asarray(ours), np.asarray(image.rotate(angle, Image.Resampling.BILINEAR)))


def test_fixed_point_rounds_to_the_nearest_and_holds_what_is_far_out() -> None:
    matrix = np.array([[1.5, -(2.0**-33) * 1.01, 2.0**30, -100.0, 100.0, -(2.0**30)]])
    expected = [[3 << 31, -1, 1 << 58, -(1 << 38), 1 << 38, -(1 << 58)]]
    np.testing.assert_array_equal(fixed_point(matrix), expected)
