"""ERA plans executed with Pillow itself, image by image: what the kernels are held to, and the back end of last resort."""

from __future__ import annotations

from typing import List

import numpy as np
from PIL import Image, ImageOps

from .era_plan import NO_OPERATION, EraPlan
from .frame import crop_flip_reference
from .operation import ADDED, operation_names


def era_views_reference(images: np.ndarray, plan: EraPlan) -> np.ndarray:
    """The clean and the augmented views of a batch.

    Args:
        images: uint8 (B, C, H, W).
        plan: of B images.

    Returns:
        float32 (J, B, C, H, W) in [0, 1].
    """
    names = operation_names()
    views = np.empty((plan.views, *images.shape), np.float32)
    for n, image in enumerate(images):
        clean = crop_flip_reference(image, plan.crop[n], plan.flip[n])
        views[0, n] = clean
        start = to_pillow(clean)
        for view in range(plan.views - 1):
            mix = plan.mix[n, view]
            mixture = (np.float32(1) - mix) * clean
            for chain, weight in enumerate(plan.chain_weights[n, view]):
                result = start
                for op, arg in zip(plan.ops[n, view, chain], plan.args[n, view, chain]):
                    if op != NO_OPERATION:
                        result = [apply_operation(part, names[op], float(arg)) for part in result]
                mixture = mixture + (mix * weight) * from_pillow(result)
            # Rounding may carry the sum of white pixels one unit in the last place over 255.
            views[view + 1, n] = np.minimum(mixture, np.float32(255))
    return views / np.float32(255)


def apply_operation(image: Image.Image, name: str, arg: float) -> Image.Image:
    """One of ``operation_names()`` on an image of mode L or RGB, with an argument as ``EraPlan.args`` holds it."""
    if name == "autocontrast":
        return ImageOps.autocontrast(image)
    if name == "equalize":
        return ImageOps.equalize(image)
    if name == "posterize":
        # No bit at all is black by Pillow's formula, which recent versions refuse to apply.
        return ImageOps.posterize(image, int(arg)) if arg >= 1 else Image.new(image.mode, image.size)
    if name == "solarize":
        return ImageOps.solarize(image, int(arg))
    if name == "rotate":
        return image.rotate(arg, resample=Image.Resampling.BILINEAR)
    if name in ADDED:
        return ADDED[name].reference(image, arg)
    matrix = {
        "shear_x": (1, arg, 0, 0, 1, 0),
        "shear_y": (1, 0, 0, arg, 1, 0),
        "translate_x": (1, 0, arg, 0, 1, 0),
        "translate_y": (1, 0, 0, 0, 1, arg),
    }[name]
    return image.transform(image.size, Image.Transform.AFFINE, matrix, resample=Image.Resampling.BILINEAR)


def to_pillow(image: np.ndarray) -> List[Image.Image]:
    """uint8 (C, H, W) → one RGB image for three channels, else one grey image for each; no operation mixes channels."""
    if len(image) == 3:
        return [Image.fromarray(np.ascontiguousarray(image.transpose(1, 2, 0)))]
    return [Image.fromarray(np.ascontiguousarray(channel)) for channel in image]


def from_pillow(parts: List[Image.Image]) -> np.ndarray:
    """The images of ``to_pillow`` → uint8 (C, H, W)."""
    arrays = [np.asarray(part) for part in parts]
    return np.concatenate([array[None] if array.ndim == 2 else array.transpose(2, 0, 1) for array in arrays])
