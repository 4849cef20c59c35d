"""The whole state of a run in one file."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from gearnn.checkpoint import (
    Progression,
    State,
    checkpoint_path,
    load_checkpoint,
    load_state,
    network_path,
    previous_path,
    save_checkpoint,
    save_state,
)
from gearnn.errors import UserError
from gearnn.models import scaled_widths
from gearnn.network import Card, save_network

CARD = Card("vgg19", scaled_widths("vgg19", 1 / 16), ("a", "b"), (0.5,), (0.2,), 32, 1)


def test_everything_comes_back(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = CARD.build()
    momentum = {name: torch.randn_like(parameter) for name, parameter in model.named_parameters()}
    newborn = {name: torch.rand_like(parameter) > 0.5 for name, parameter in list(model.named_parameters())[:3]}
    progression = Progression(
        2, 3, [{"loss": 0.1 + 0.2}], [{"name": "seed"}], {"seconds": 1.5}, {"bound_by": "x"}, {"scale": 2.0}, elapsed=1 / 3
    )
    save_checkpoint(tmp_path / "deep" / "last.safetensors", State(model, momentum, newborn, CARD, progression))
    loaded = load_checkpoint(tmp_path / "deep" / "last.safetensors")
    assert (loaded.card, loaded.progression) == (CARD, progression)
    assert loaded.model.training
    for before, after in (
        (model.state_dict(), loaded.model.state_dict()),
        (momentum, loaded.momentum),
        (newborn, loaded.newborn),
    ):
        assert before.keys() == after.keys()
        assert all(torch.equal(before[name], after[name]) for name in before)
    assert all(mask.dtype == torch.bool for mask in loaded.newborn.values())


def test_what_is_not_a_checkpoint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no file"):
        load_checkpoint(tmp_path / "absent.safetensors")
    save_file({"weight": torch.ones(3)}, str(tmp_path / "foreign.safetensors"), metadata=CARD.to_metadata())
    with pytest.raises(UserError, match="not a checkpoint"):
        load_checkpoint(tmp_path / "foreign.safetensors")


def test_a_failed_write_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from safetensors import SafetensorError

    from gearnn import network

    def full(*_: object, **__: object) -> None:
        raise SafetensorError("No space left on device (os error 28)")

    monkeypatch.setattr(network, "save_file", full)
    with pytest.raises(UserError, match="No space left on device.*free some space"):
        save_checkpoint(tmp_path / "last.safetensors", State(CARD.build(), {}, {}, CARD, Progression()))
    assert list(tmp_path.iterdir()) == []


def _saved(folder: Path, epochs: int) -> None:
    torch.manual_seed(0)
    for epoch in range(epochs):
        save_state(folder, State(CARD.build(), {}, {}, CARD, Progression(epoch=epoch)))


@pytest.mark.parametrize("fault", ["torn", "altered", "missing"])
def test_the_one_before_takes_the_place_of_one_that_cannot_be_used(fault: str, tmp_path: Path) -> None:
    _saved(tmp_path, 3)
    path = checkpoint_path(tmp_path)
    content = path.read_bytes()
    if fault == "missing":
        path.unlink()
    else:
        path.write_bytes(content[:-100] if fault == "torn" else content[:-100] + bytes([content[-100] ^ 1]) + content[-99:])
    with pytest.warns(UserWarning, match="went on from the one before"):
        state = load_state(tmp_path)
    assert state.progression.epoch == 1
    assert len(state.progression.remarks) == 1
    assert load_state(tmp_path).progression.epoch == 1  # it is the last one now


def test_neither_can_be_used(tmp_path: Path) -> None:
    _saved(tmp_path, 2)
    for path in (checkpoint_path(tmp_path), previous_path(tmp_path)):
        path.write_bytes(b"")
    with pytest.raises(UserError, match="neither of its checkpoints can be used"):
        load_state(tmp_path)


def test_a_kept_network_that_was_altered_is_noticed(tmp_path: Path) -> None:
    network = network_path(tmp_path, "seed")
    save_network(network, CARD.build(), CARD)
    for phases in ([], [{"name": "seed", "keeps": "seed"}]):
        save_state(tmp_path, State(CARD.build(), {}, {}, CARD, Progression(phases=phases)))
    content = network.read_bytes()
    network.write_bytes(content[:-9] + bytes([content[-9] ^ 4]) + content[-8:])
    with pytest.warns(UserWarning, match="seed.safetensors has been altered"):
        assert load_state(tmp_path).progression.phases == []
