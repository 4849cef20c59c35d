"""Networks and batches from the configuration alone."""

from __future__ import annotations

import dataclasses
from typing import Any, List, Sequence

import pytest
import torch
from torch import nn

from gearnn.config import Budget, RunConfig
from gearnn.data import Dataset
from gearnn.errors import UserError
from gearnn.materials import card_of, feed_of, initial_widths, key_of, limits_of, untrained
from gearnn.models import count_parameters, create_model, scaled_widths
from gearnn.network import Card
from gearnn.phases import phases_of


def test_weights_depend_on_the_key_alone(tiny_dataset: Dataset, tiny_config: RunConfig) -> None:
    card = card_of(tiny_config, tiny_dataset, scaled_widths("vgg19", 1 / 16))
    before = torch.random.get_rng_state()
    first, again, other = (untrained(card, key_of(seed, "model")).state_dict() for seed in (0, 0, 1))
    assert torch.equal(before, torch.random.get_rng_state())
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


def test_purposes_have_keys_of_their_own() -> None:
    assert len({key_of(seed, name) for seed in (0, 1) for name in ("seed", "regrow-1", "regrow-2")}) == 6


def test_a_phase_has_its_views_and_draws(tiny_dataset: Dataset, tiny_config: RunConfig) -> None:
    seed, _, regrow, era = phases_of(tiny_config)
    shapes = [next(feed_of(tiny_config, tiny_dataset, phase, torch.device("cpu")).batches(0))[0].shape for phase in (seed, era)]
    assert [tuple(shape) for shape in shapes] == [(1, 32, 1, 16, 16), (3, 32, 1, 16, 16)]
    feeds = [feed_of(tiny_config, tiny_dataset, phase, torch.device("cpu")) for phase in (seed, regrow)]
    assert feeds[0].key != feeds[1].key


def test_training_memory_is_limited_in_robust_phases(tiny_dataset: Dataset, tiny_config: RunConfig) -> None:
    model = untrained(card_of(tiny_config, tiny_dataset, scaled_widths("vgg19", 1 / 16)), 0)
    peaks = []
    for views in (2, 4):
        augmentation = dataclasses.replace(tiny_config.augmentation, views=views)
        config = dataclasses.replace(tiny_config, budget=Budget(train_memory="1GB"), augmentation=augmentation)
        graph, (limit,) = limits_of(config, tiny_dataset, model)
        assert limit.limit == 10**9
        peaks.append(limit.cost(graph.widths()))
    assert peaks[1] > 1.3 * peaks[0]


def test_a_network_that_does_not_grow_starts_as_wide_as_its_budget_allows(tiny_dataset: Dataset, tiny_config: RunConfig) -> None:
    fixed = dataclasses.replace(tiny_config, method="fixed", budget=Budget(params=400_000))

    def params(widths: Sequence[int]) -> int:
        return count_parameters(create_model("vgg19", 3, widths, in_chans=1))

    widths = initial_widths(fixed, tiny_dataset)
    wider = [scaled_widths("vgg19", width / 1000) for width in range(130, 160)]
    assert params(widths) == max(params(found) for found in wider if params(found) <= 400_000)
    assert initial_widths(tiny_config, tiny_dataset) == scaled_widths("vgg19", 1 / 16)
    unlimited = dataclasses.replace(fixed, budget=Budget())
    assert initial_widths(unlimited, tiny_dataset) == scaled_widths("vgg19", 1 / 16)
    with pytest.raises(UserError, match="above the budget"):
        initial_widths(dataclasses.replace(fixed, budget=Budget(params=1000)), tiny_dataset)


def test_robust_phases_can_leave_the_clean_view_out(tiny_dataset: Dataset, tiny_config: RunConfig) -> None:
    cpu = torch.device("cpu")

    def views(**settings: Any) -> torch.Tensor:
        config = dataclasses.replace(tiny_config, augmentation=dataclasses.replace(tiny_config.augmentation, **settings))
        return next(feed_of(config, tiny_dataset, phases_of(config)[-1], cpu).batches(0))[0]

    both, alone = views(views=2), views(views=1, clean_view=False)
    assert (len(both), len(alone)) == (2, 1)
    assert torch.equal(alone[0], both[1])
    assert not torch.equal(alone[0], both[0])


def test_identity_passes_images_on_through_a_plain_network(tiny_dataset: Dataset, tiny_config: RunConfig) -> None:
    card = card_of(tiny_config, tiny_dataset, scaled_widths("vgg19", 1 / 16))
    he, identity = untrained(card, 0), untrained(card, 0, "identity")
    layer = next(path for path, module in he.named_modules() if isinstance(module, nn.Conv2d) and module.in_channels > 4)
    images = torch.rand(2, 8, 6, 6)
    kept = identity.get_submodule(layer)(images)[:, :8]
    torch.testing.assert_close(kept, images)
    assert not torch.allclose(he.get_submodule(layer)(images)[:, :8], images, atol=0.1)
    first = next(path for path, module in he.named_modules() if isinstance(module, nn.Conv2d))
    assert torch.equal(he.get_submodule(first).weight, identity.get_submodule(first).weight)


@pytest.mark.parametrize("arch", ["vgg19", "resnet18", "mobilenet_v1"])
def test_a_network_that_standardizes_does_not_see_brightness_and_contrast(
    arch: str, tiny_dataset: Dataset, tiny_config: RunConfig
) -> None:
    images = torch.rand(4, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    bright, dark = (2 * images - 1) * 2, (1.4 * images - 0.8) * 2

    def seen(standardize: bool) -> List[torch.Tensor]:
        """What reaches the first convolution."""
        config = dataclasses.replace(tiny_config, arch=arch, standardize=standardize)
        card = card_of(config, tiny_dataset, scaled_widths(arch, 1 / 16))
        assert card == Card.from_metadata(card.to_metadata())
        model, found = untrained(card, 0), []
        first = next(module for module in model.modules() if isinstance(module, nn.Conv2d))
        first.register_forward_pre_hook(lambda _, given: found.append(given[0]))
        for batch in (bright, dark):
            model(batch)
        return found

    plain, standard = seen(False), seen(True)
    assert torch.equal(plain[0], bright)
    torch.testing.assert_close(standard[0], standard[1], atol=0.02, rtol=0)
    assert float(standard[0].std()) == pytest.approx(1.0, abs=0.02)


def test_networks_of_before_standardize_was_known_are_read(tiny_dataset: Dataset, tiny_config: RunConfig) -> None:
    card = card_of(tiny_config, tiny_dataset, scaled_widths("vgg19", 1 / 16))
    header = card.to_metadata()
    del header["standardize"]
    assert Card.from_metadata(header) == card
