"""Networks on disk."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any, Dict

import pytest
import torch
from safetensors.torch import save_file

from gearnn.errors import UserError
from gearnn.models import scaled_widths
from gearnn.network import Card, load_deployable, load_network, save_network

CARD = Card("mobilenet_v1", scaled_widths("mobilenet_v1", 1 / 16), ("cat", "dög"), (0.4, 0.5, 0.6), (0.2, 0.2, 0.3), 32, 3)


def test_round_trip(tmp_path: Path) -> None:
    model = CARD.build().eval()
    save_network(tmp_path / "net.safetensors", model, CARD)
    loaded, card = load_network(tmp_path / "net.safetensors")
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    assert card == CARD
    assert not loaded.training
    assert torch.equal(loaded(images), model(images))
    deployed, _ = load_deployable(tmp_path / "net.safetensors")
    normal = (images - torch.tensor(CARD.mean).view(1, 3, 1, 1)) / torch.tensor(CARD.std).view(1, 3, 1, 1)
    torch.testing.assert_close(deployed(images), model(normal))


def test_files_that_are_not_ours_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no file"):
        load_network(tmp_path / "absent.safetensors")
    torn = tmp_path / "torn.safetensors"
    save_network(torn, CARD.build(), CARD)
    torn.write_bytes(torn.read_bytes()[:1000])
    with pytest.raises(UserError, match="not a readable safetensors file"):
        load_network(torn)
    save_file({"weight": torch.ones(3)}, str(tmp_path / "foreign.safetensors"))
    with pytest.raises(UserError, match="does not hold a network"):
        load_network(tmp_path / "foreign.safetensors")
    save_file({"weight": torch.ones(3)}, str(tmp_path / "empty.safetensors"), metadata=CARD.to_metadata())
    with pytest.raises(UserError, match="does not hold a network"):
        load_network(tmp_path / "empty.safetensors")


@pytest.mark.parametrize(
    "changed",
    [
        {"widths": (10**6,) * 14},
        {"widths": (2**70,) * 14},
        {"classes": ("x",) * 3},
        {"arch": "a" * 10**6},
        {"std": (0.2, 0.2, 0.0)},
        {"mean": (0.4,)},
        {"image_size": "32"},
    ],
)
def test_a_header_cannot_ask_for_what_the_file_does_not_hold(tmp_path: Path, changed: Dict[str, Any]) -> None:
    path = tmp_path / "net.safetensors"
    save_file(dict(CARD.build().state_dict()), str(path), metadata=replace(CARD, **changed).to_metadata())
    start = time.process_time()
    with pytest.raises(UserError) as caught:
        load_deployable(path)
    assert "\n" not in str(caught.value)
    assert time.process_time() - start < 2


@pytest.mark.parametrize("stated", [1 << 27, 1 << 62, 100_000])
def test_a_stated_header_that_is_too_long(tmp_path: Path, stated: int) -> None:
    path = tmp_path / "net.safetensors"
    path.write_bytes(stated.to_bytes(8, "little") + b"{}")
    with pytest.raises(UserError, match="its header is longer than it can be"):
        load_network(path)


def test_types_that_numpy_has_not_are_no_crash(tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    save_file({"weight": torch.ones(3, dtype=torch.bfloat16)}, str(path), metadata={**CARD.to_metadata(), "sha256": "0" * 64})
    with pytest.raises(UserError):
        load_network(path)
