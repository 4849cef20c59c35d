"""The peers do the work they are timed on, and the table says what it counts."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
import torch

from gearnn.bench import augment
from gearnn.bench.augment import Workload, bench_augment, jobs, textured
from gearnn.kernels.era import era_views


def test_pictures_are_textured() -> None:
    images = textured(4, 30, 0)
    assert images.shape == (4, 3, 30, 30) and images.dtype == np.uint8
    assert images.std((2, 3)).min() > 10
    assert np.array_equal(images, textured(4, 30, 0)) and not np.array_equal(images, textured(4, 30, 1))


def test_kornia_does_the_same_operations() -> None:
    pytest.importorskip("kornia")
    from gearnn.bench.kornia_era import kornia_views

    work = Workload.make(32, 24, 0, None)
    result = kornia_views(torch.from_numpy(work.images).float() / 255, work.era).numpy()
    expected = era_views(work.images, work.era)
    assert np.median(np.abs(result - expected)) < 2 / 255
    assert np.mean(np.abs(result - expected) < 0.05) > 0.9


def test_every_candidate_makes_augmented_views() -> None:
    work = Workload.make(16, 6, 0, None)
    shapes = {
        "augmix-pillow": (6, 3, 16, 16),
        "augmix": (2, 6, 3, 16, 16),
        "prime": (3, 6, 3, 16, 16),
        "prime-torch": (3, 6, 3, 16, 16),
    }
    for name, job in jobs(work, threads=1).items():
        if name == "kornia" and importlib.util.find_spec("kornia") is None:
            continue
        views = np.asarray(job())
        assert views.shape == shapes.get(name, (4, 6, 3, 16, 16)), name
        assert views.std() > 0.1, name
        if name not in ("augmix-pillow",):
            assert views.min() >= -1e-6 and views.max() <= 1 + 1e-6, name


def test_the_torch_formulation_of_prime_uses_all_primitives() -> None:
    from gearnn.bench import torch_prime

    images = torch.from_numpy(textured(4, 24, 0)).float() / 255
    generator = torch.Generator().manual_seed(0)
    for primitive in (torch_prime.diffeomorphism, torch_prime.colour, torch_prime.random_filter):
        changed = primitive(images, generator, 20)
        assert changed.shape == images.shape and changed.min() >= 0 and changed.max() <= 1
        assert (changed - images).abs().mean() > 1e-3


def test_results_and_ratios(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(augment, "peak_growth_mb", lambda name, size, batch, seed: 2.0)
    ticks = []
    results, skipped = bench_augment((16,), (1, 2), batch=4, seconds=0.01, progress=lambda *tick: ticks.append(tick))
    rows = {(row["name"], row["size"], index // (len(results) // 2)): row for index, row in enumerate(results)}
    era, pillow = rows["era", 16, 0], rows["pillow", 16, 0]
    assert era["ratio_to_pillow"] == pytest.approx(era["images_per_s"] / pillow["images_per_s"])
    assert era["n"] >= 3 and era["q25"] <= era["images_per_s"] <= era["q75"]
    assert rows["era", 16, 1]["threads"] == 2 and rows["pillow", 16, 1]["threads"] == 1
    assert rows["prime", 16, 0]["peak_over_batch"] == pytest.approx(2e6 / (3 * 4 * 3 * 16 * 16 * 4))
    assert "ratio_to_augmix_pillow" in rows["augmix", 16, 0] and "ratio_to_prime_torch" in rows["prime", 16, 0]
    assert skipped == [] or skipped[0]["name"] == "kornia"
    assert ticks[-1][1:] == (100, 100)


def test_a_peer_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(augment.importlib.util, "find_spec", lambda name: None)
    assert augment._skipped("cpu") == [{"name": "kornia", "reason": "not installed: pip install kornia"}]
    assert [entry["name"] for entry in augment._skipped("cuda")] == ["kornia", "prime-torch"]
