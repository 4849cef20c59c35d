"""PRIME as a module."""

from __future__ import annotations

import pytest
import torch

import gearnn
from gearnn.kernels.era import era_views


def pictures() -> torch.Tensor:
    y, x = torch.meshgrid(torch.arange(20.0), torch.arange(16.0), indexing="ij")
    waves = torch.stack([128 + 100 * torch.sin(x * 0.3 * k + y * 0.2) for k in range(1, 13)])
    return waves.view(4, 3, 20, 16).to(torch.uint8)


def test_views_are_those_of_its_plan() -> None:
    prime = gearnn.PRIME(pad=2, flip=True)
    views = prime(pictures(), indices=[5, 6, 7, 8], seed=3, epoch=2)
    assert views.shape == (3, 4, 3, 20, 16) and views.min() >= 0 and views.max() <= 1
    plan = prime.plan([5, 6, 7, 8], seed=3, epoch=2, image_size=(20, 16))
    assert torch.equal(views, era_views(pictures(), plan))
    assert torch.equal(prime(pictures(), plan=plan), views)
    assert not torch.equal(prime(pictures(), indices=[5, 6, 7, 8], seed=3, epoch=3)[1:], views[1:])


def test_noise_is_a_setting() -> None:
    noise = gearnn.PRIME(operations=("noise",), width=1, depth=1, views=2)
    clean, noisy = noise(pictures(), seed=0)
    assert 0 < (noisy - clean).abs().mean() < 0.1
    assert "noise" in repr(noise)


@pytest.mark.parametrize("setting", [{"operations": ("blur",)}, {"views": 0}, {"cut_max": 1}, {"pad": 1.5}])
def test_refuses_settings_out_of_range(setting: dict) -> None:
    with pytest.raises(ValueError, match=next(iter(setting))):
        gearnn.PRIME(**setting)
