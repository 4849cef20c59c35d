from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from torch import nn

import gearnn
from gearnn.errors import UserError
from gearnn.growth.growers import GROWERS, find_grower, list_growers, register_grower
from gearnn.models import create_model, full_widths

PACKAGE = """
import torch
from torch import nn
from gearnn.models import Entry
from gearnn.growth.growers import GROWERS
from dataclasses import replace

class Pointwise(nn.Module):
    def __init__(self, widths, num_classes, in_chans):
        super().__init__()
        self.width_layers = ["first"]
        self.first, self.last = nn.Conv2d(in_chans, widths[0], 1), nn.Linear(widths[0], num_classes)

    def forward(self, images):
        return self.last(self.first(images).mean((2, 3)))

model = Entry(Pointwise, (24,))
grower = replace(GROWERS["random"], passes=True)
"""
POINTS = """[gearnn.models]
pointwise = tiny_plugin:model
wrong = tiny_plugin:Pointwise
absent = tiny_plugin:nothing
vgg19 = tiny_plugin:model

[gearnn.growers]
eager = tiny_plugin:grower
broken = broken_plugin
"""


@pytest.fixture()
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package as pip leaves it, on the path."""
    (tmp_path / "tiny_plugin.py").write_text(PACKAGE)
    (tmp_path / "broken_plugin.py").write_text("import a_library_that_is_not_there\n")
    folder = tmp_path / "tiny_plugin-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: tiny-plugin\nVersion: 1.0\n")
    (folder / "entry_points.txt").write_text(POINTS)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    sys.modules.pop("tiny_plugin", None)


def test_an_installed_package_adds_networks_and_growers(installed: Path) -> None:
    assert gearnn.list_models("p*") == ["pointwise"]
    assert "tiny_plugin" not in sys.modules  # names are listed without importing it
    assert full_widths("pointwise") == (24,)
    model = create_model("pointwise", 5, widths=[8])
    assert isinstance(model.first, nn.Conv2d) and model(torch.rand(2, 3, 4, 4)).shape == (2, 5)
    assert list_growers() == [*GROWERS, "broken", "eager"]
    assert find_grower("eager").passes and find_grower("eager").propose is GROWERS["random"].propose


def test_built_in_names_stay_what_they_are(installed: Path) -> None:
    assert len(full_widths("vgg19")) == 16 and "tiny_plugin" not in sys.modules


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (
            lambda: find_grower("broken"),
            r"tiny-plugin cannot provide 'broken' \(ModuleNotFoundError: .*a_library_that_is_not_there",
        ),
        (lambda: full_widths("absent"), "tiny-plugin cannot provide 'absent' .AttributeError"),
        (lambda: full_widths("wrong"), "tiny-plugin offers 'wrong' as a type: .* must be a gearnn.models.registry.Entry"),
        (lambda: full_widths("pointwis"), "did you mean pointwise"),
        (lambda: find_grower("fly"), "choose one of osg, .*, broken, eager"),
    ],
)
def test_what_is_broken_is_one_sentence_that_names_the_package(installed: Path, ask: object, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        ask()  # type: ignore[operator]
    assert "\n" not in str(caught.value)


def test_a_grower_can_be_registered_for_one_process() -> None:
    register_grower("again", GROWERS["random"])
    try:
        assert find_grower("again") is GROWERS["random"] and "again" in list_growers()
    finally:
        GROWERS.pop("again")


def test_entry_points_are_not_read_for_built_in_names(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused() -> None:
        raise AssertionError("they were read")

    monkeypatch.setattr("importlib.metadata.distributions", refused)
    create_model("vgg19", 3, [8] * 16)
    find_grower("osg")
    with pytest.raises(AssertionError, match="they were read"):
        find_grower("another")
