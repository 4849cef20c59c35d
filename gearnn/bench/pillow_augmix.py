"""A peer: AugMix as it is commonly written, one image at a time with Pillow and NumPy in a data loader's worker."""

from __future__ import annotations

import numpy as np
from PIL import Image

from gearnn.kernels.era_plan import OPERATIONS
from gearnn.kernels.era_reference import apply_operation

_WIDTH, _LONGEST, _SEVERITY = 3, 3, 3.0
_TOPS = {"posterize": 4.0, "solarize": 256.0, "rotate": 30.0, "shear_x": 0.3, "shear_y": 0.3}


def augmix_image(image: Image.Image, mean: np.ndarray, std: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """One augmented view, normalised: three chains of one to three random operations (Hendrycks et al., ICLR 2020, algorithm 1).

    The image stays in Pillow within a chain, and is normalised in NumPy at its end.

    Args:
        image: RGB.
        mean, std: float32 (3,), on the scale of [0, 1].

    Returns:
        float32 (3, H, W).
    """

    def normalised(picture: Image.Image) -> np.ndarray:
        return np.asarray((np.asarray(picture, np.float32) / 255 - mean) / std, np.float32).transpose(2, 0, 1)

    weights = generator.dirichlet([1.0] * _WIDTH).astype(np.float32)
    m = np.float32(generator.beta(1, 1))
    mixture = np.zeros((3, image.size[1], image.size[0]), np.float32)
    for weight in weights:
        augmented = image.copy()
        for _ in range(generator.integers(1, _LONGEST + 1)):
            name = OPERATIONS[generator.integers(len(OPERATIONS))]
            augmented = apply_operation(augmented, name, _argument(name, image.size[0], generator))
        mixture += weight * normalised(augmented)
    return (1 - m) * normalised(image) + m * mixture


def _argument(name: str, side: int, generator: np.random.Generator) -> float:
    """A random strength, as ``EraPlan.args`` has it."""
    if name in ("autocontrast", "equalize"):
        return 0.0
    strength = generator.uniform(0.1, _SEVERITY) / 10 * _TOPS.get(name, side / 3)
    if name in ("posterize", "solarize"):
        return float(_TOPS[name] - int(strength))
    if not name.startswith("shear"):
        strength = int(strength)
    return float(-strength if generator.random() > 0.5 else strength)
