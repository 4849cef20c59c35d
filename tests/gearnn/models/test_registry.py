"""The three networks, by name."""

from __future__ import annotations

import pytest
import torch

from gearnn.errors import UserError
from gearnn.models import count_parameters, create_model, full_widths, list_models, register_model, scaled_widths, widths_of

NAMES = ("mobilenet_v1", "resnet18", "vgg19")


@pytest.mark.parametrize(("name", "parameters"), [("vgg19", 20_035_018), ("mobilenet_v1", 3_217_226), ("resnet18", 11_173_962)])
def test_full_size_parameter_counts_are_those_of_the_literature(name: str, parameters: int) -> None:
    assert count_parameters(create_model(name, 10)) == parameters


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", [(16, 16), (17, 23), (28, 28), (32, 32), (64, 64), (224, 224)])
def test_takes_images_from_16_to_224(name: str, size: tuple) -> None:
    model = create_model(name, 7, scaled_widths(name, 1 / 16), in_chans=1).eval()
    logits = model(torch.randn(2, 1, *size, generator=torch.Generator().manual_seed(0)))
    assert logits.shape == (2, 7)
    assert not torch.equal(logits[0], logits[1])


@pytest.mark.parametrize("name", NAMES)
def test_widths_rebuild_the_network(name: str) -> None:
    widths = tuple(8 + 8 * (index % 3) for index in range(len(full_widths(name))))
    model = create_model(name, 10, widths)
    assert widths_of(model) == widths
    create_model(name, 10, widths_of(model)).load_state_dict(model.state_dict())


def test_scaled_widths_are_multiples() -> None:
    assert scaled_widths("vgg19", 1 / 8)[:4] == (8, 8, 16, 16)
    assert all(width % 8 == 0 for name in NAMES for width in scaled_widths(name, 0.3))
    with pytest.raises(UserError, match="above 0"):
        scaled_widths("vgg19", 0)


def test_wrong_names_get_suggestions() -> None:
    with pytest.raises(UserError, match="did you mean vgg19"):
        create_model("vgg-19", 10)
    with pytest.raises(UserError, match="Known: mobilenet_v1"):
        create_model("zzz", 10)


def test_wrong_widths_and_classes_are_refused() -> None:
    with pytest.raises(UserError, match="takes 16 widths"):
        create_model("vgg19", 10, [8, 8])
    with pytest.raises(UserError, match="at least 2 classes"):
        create_model("vgg19", 1)


def test_list_and_register() -> None:
    assert list_models("*net*") == ["mobilenet_v1", "resnet18"]
    register_model("linear", lambda widths, classes, chans: torch.nn.Linear(widths[0], classes), [5])
    try:
        assert create_model("linear", 3)(torch.randn(2, 5)).shape == (2, 3)
    finally:
        from gearnn.models import registry

        registry._ENTRIES.pop("linear")
