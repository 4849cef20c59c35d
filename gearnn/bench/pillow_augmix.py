"""A peer: AugMix as it is commonly written, one image at a time with Pillow and NumPy in a data loader's worker."""

from __future__ import annotations

from typing import Callable, List

import numpy as np
from PIL import Image

from gearnn.kernels.era_plan import OPERATIONS
from gearnn.kernels.era_reference import apply_operation

_WIDTH, _DEPTHS, _SEVERITY = 3, (1, 4), 3.0


def augmix_image(image: Image.Image, mean: np.ndarray, std: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """One augmented view, normalised: three chains of one to three random operations (Hendrycks et al., ICLR 2020).

    Args:
        image: RGB.
        mean, std: float32 (3,), on the scale of [0, 1].

    Returns:
        float32 (3, H, W).
    """

    def preprocess(picture: Image.Image) -> np.ndarray:
        return np.asarray((np.asarray(picture, np.float32) / 255 - mean) / std, np.float32).transpose(2, 0, 1)

    weights = generator.dirichlet([1.0] * _WIDTH).astype(np.float32)
    m = np.float32(generator.beta(1, 1))
    mixture = np.zeros_like(preprocess(image))
    operations = _operations(image.size[0], generator)
    for weight in weights:
        augmented = image.copy()
        for _ in range(generator.integers(*_DEPTHS)):
            augmented = operations[generator.integers(len(operations))](augmented)
        mixture += weight * preprocess(augmented)
    return (1 - m) * preprocess(image) + m * mixture


def _operations(side: int, generator: np.random.Generator) -> List[Callable[[Image.Image], Image.Image]]:
    def strength(top: float) -> float:
        return float(generator.uniform(0.1, _SEVERITY)) * top / 10

    def signed(value: float) -> float:
        return -value if generator.random() > 0.5 else value

    draws = {
        "autocontrast": lambda: 0.0,
        "equalize": lambda: 0.0,
        "posterize": lambda: 4 - int(strength(4)),
        "solarize": lambda: 256 - int(strength(256)),
        "rotate": lambda: signed(int(strength(30))),
        "shear_x": lambda: signed(strength(0.3)),
        "shear_y": lambda: signed(strength(0.3)),
        "translate_x": lambda: signed(int(strength(side / 3))),
        "translate_y": lambda: signed(int(strength(side / 3))),
    }

    def operation(name: str) -> Callable[[Image.Image], Image.Image]:
        return lambda image: apply_operation(image, name, float(draws[name]()))

    return [operation(name) for name in OPERATIONS]
