"""The torch peer computes what Pillow computes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gearnn.bench.pictures import textured
from gearnn.bench.torch_era import apply_plan
from gearnn.kernels.era_plan import draw_plan
from gearnn.kernels.era_reference import era_views_reference


@pytest.mark.parametrize(("width", "depth", "severity"), [(1, 3, 3.0), (3, None, 3.0), (1, 3, 10.0)])
def test_agrees_with_pillow(width: int, depth: int, severity: float) -> None:
    images = textured(24, 40, 0)
    plan = draw_plan(
        range(24), seed=0, epoch=0, image_size=(40, 40), width=width, depth=depth, severity=severity, pad=4, flip=True
    )
    result = apply_plan(torch.from_numpy(images), plan).numpy()
    assert np.mean(np.abs(result - era_views_reference(images, plan)) < 1e-5) > 0.99


def test_the_result_does_not_depend_on_the_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    images = torch.from_numpy(textured(10, 20, 0))
    plan = draw_plan(range(10), seed=0, epoch=0, image_size=(20, 20), width=2, pad=2, flip=True)
    whole = apply_plan(images, plan)
    monkeypatch.setattr("gearnn.bench.torch_era._CHUNK", 1)
    assert torch.equal(apply_plan(images, plan), whole)


def test_refuses_what_does_not_fit_the_plan() -> None:
    plan = draw_plan([0, 1], seed=0, epoch=0, image_size=(8, 8))
    with pytest.raises(ValueError, match="uint8"):
        apply_plan(torch.ones(2, 3, 8, 8), plan)
    with pytest.raises(ValueError, match="plan is for 2 images"):
        apply_plan(torch.ones(3, 1, 8, 8).byte(), plan)
