"""Whether a grown network is seen to compute what the original does."""

from __future__ import annotations

import copy
import dataclasses
from typing import Any, Callable

import pytest
import torch
from torch import Tensor, nn

from gearnn.config import Budget
from gearnn.growth.candidates import Task
from gearnn.growth.growers import GROWERS
from gearnn.growth.preserved import TOLERANCE, output_difference, remark
from gearnn.growth.step import grow


class _Several(nn.Module):
    """Outputs in a dict and a tuple, with a BatchNorm between."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.head = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 3)
        self.scale = 1.0

    def forward(self, x: Tensor) -> Any:
        x = self.norm(self.conv(x)).mean((2, 3))
        return {"logits": self.head(x), "others": (self.scale * x, x.argmax(1))}


def test_the_worst_output_counts_by_its_own_scale(images: Tensor) -> None:
    torch.manual_seed(0)
    model = _Several()
    other, modes = copy.deepcopy(model), [module.training for module in model.modules()]
    assert output_difference(model, other, images[:1]) == 0.0
    other.scale = 1.001  # of an output that is not the first
    assert output_difference(model, other, images[:1]) == pytest.approx(1e-3, rel=1e-3)
    with torch.no_grad():
        other.head.bias += 0.1
        logits = model.eval()(images[:1])["logits"].abs().max()
    model.train()
    assert output_difference(model, other, images[:1]) == pytest.approx(0.1 / float(logits), rel=1e-3)
    assert [module.training for module in model.modules()] == modes and model.norm.num_batches_tracked == 0
    other.scale = float("nan")
    assert output_difference(model, other, images[:1]) is None


def test_remarks_say_what_was_measured() -> None:
    assert remark("osg", TOLERANCE) is None
    assert "osg should leave" in str(remark("osg", 2e-3)) and "changed by 2.0e-03 of the largest" in str(remark("osg", 2e-3))
    assert "are not finite" in str(remark("osg", None))


def test_growth_records_the_difference_and_remarks_on_a_broken_promise(
    small_network: Callable[[str], nn.Module], images: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, batches = small_network("bottleneck"), [(images, torch.arange(16) % 10)]

    def grown(grower: str) -> Any:
        return grow(model, batches, Budget(growth_ratio=0.5), grower=grower)

    kept = grown("random")
    assert kept.difference < TOLERANCE and kept.remarks == () and kept.to_dict()["output_difference"] == kept.difference
    nearly = grown("net2net")  # claims nothing
    assert nearly.difference > TOLERANCE and nearly.remarks == ()

    def read_at_once(task: Task) -> Any:
        offer = GROWERS["random"].propose(task)
        for columns in offer.bank.new_columns.values():
            columns += 0.1
        return offer

    monkeypatch.setitem(GROWERS, "broken", dataclasses.replace(GROWERS["random"], propose=read_at_once))
    broken = grown("broken")
    assert broken.difference > 0.01 and len(broken.remarks) == 1 and "The grower broken should leave" in broken.remarks[0]
