from __future__ import annotations

import pytest
import torch
from torch import nn

from gearnn.blank import blank_model
from gearnn.growth.graph import trace_channels
from gearnn.models import count_parameters, create_model, scaled_widths, widths_of


@pytest.mark.parametrize("name", ["vgg19", "mobilenet_v1", "resnet18"])
def test_blank_network_has_the_widths_asked_for_and_runs(name):
    torch.manual_seed(0)
    seed = scaled_widths(name, 1 / 8)
    model = create_model(name, 10, seed)
    images = torch.rand(2, 3, 16, 16)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    generator = torch.get_rng_state()
    graph = trace_channels(model, images)
    widths = {group.name: group.width + 8 * (1 + index % 3) for index, group in enumerate(graph.groups)}
    blank = blank_model(model, graph, widths)
    same_size = create_model(name, 10, widths_of(blank))
    assert sorted(widths_of(blank)) == sorted(widths.values())
    assert count_parameters(blank) == count_parameters(same_size)
    logits = blank.eval()(images)
    assert logits.shape == (2, 10)
    assert torch.isfinite(logits).all()
    assert logits.std() > 0
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    torch.set_rng_state(generator)
    blank_model(model, graph, widths)
    assert torch.equal(torch.get_rng_state(), generator)


def test_layers_of_every_kind_are_resized():
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, bias=True), nn.GroupNorm(2, 8), nn.ReLU(), nn.Conv2d(8, 8, 3, groups=2),
        nn.BatchNorm2d(8, affine=False), nn.Flatten(), nn.Linear(8 * 16, 4),
    )  # fmt: skip
    images = torch.rand(2, 3, 8, 8)
    graph = trace_channels(model, images)
    blank = blank_model(model, graph, {group.name: 16 for group in graph.groups})
    assert (blank[0].out_channels, blank[1].num_groups, blank[3].groups, blank[4].num_features) == (16, 4, 4, 16)
    assert blank[6].weight.shape == (4, 16 * 16)
    assert blank(images).shape == (2, 4)
