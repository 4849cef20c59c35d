"""Networks on disk."""

from __future__ import annotations

from pathlib import Path

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
