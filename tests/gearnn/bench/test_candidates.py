"""The peers do the work that they are timed on."""

from __future__ import annotations

import importlib.util
from typing import Dict

import numpy as np
import pytest
import torch

from gearnn.bench import candidates
from gearnn.bench.candidates import FAMILIES, OURS, VIEWS, Workload, jobs, skipped
from gearnn.kernels.era import era_views
from gearnn.kernels.registry import Probe


@pytest.fixture(scope="module")
def views() -> Dict[str, np.ndarray]:
    """What each candidate makes of the same eight pictures."""
    work = Workload.generated(20, 8, 0)
    found = jobs(work, threads=1)
    if importlib.util.find_spec("kornia") is None:
        del found["kornia"]
    return {"images": work.images, **{name: np.asarray(job()) for name, job in found.items()}}


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_makes_the_same_views(family: str, views: Dict[str, np.ndarray]) -> None:
    for name in (name for name in FAMILIES[family] if name in views):
        if name == "augmix-pillow":
            assert views[name].shape == (8, 3, 20, 20)  # the clean view is not part of the output
        else:
            assert views[name].shape == (VIEWS[family], 8, 3, 20, 20), name
            clean = views[name][0] * 0.25 + 0.5 if name == "augmix" else views[name][0]
            np.testing.assert_allclose(clean, views["images"] / 255, atol=1e-6)
            assert np.abs(views[name][1:] - views[name][0]).mean() > 0.02, name
        assert views[name].dtype == np.float32 and views[name].std() > 0.1, name


@pytest.mark.parametrize("name", ["pillow", "torch", "era+plan"])
def test_exact_peers_agree(name: str, views: Dict[str, np.ndarray]) -> None:
    assert np.mean(np.abs(views[name] - views["era"]) < 1e-5) > 0.995


def test_era_on_one_thread_is_timed_beside_several(views: Dict[str, np.ndarray]) -> None:
    assert "era-one-thread" not in views
    alone = jobs(Workload.generated(20, 8, 0), threads=2)["era-one-thread"]()
    np.testing.assert_array_equal(np.asarray(alone), views["era"])


def test_kornia_agrees_roughly(views: Dict[str, np.ndarray]) -> None:
    """It works on floating-point images, has black beyond the border where Pillow repeats it, and its own rule to equalize."""
    if "kornia" not in views:
        pytest.skip("kornia is not installed")
    difference = np.abs(views["kornia"] - views["pillow"])
    assert np.median(difference) < 2 / 255
    assert np.mean(difference < 0.05) > 0.9


def test_every_kornia_operation_agrees_by_itself() -> None:
    pytest.importorskip("kornia")
    from gearnn.bench.kornia_era import kornia_views
    from gearnn.kernels.era_plan import OPERATIONS, EraPlan

    work = Workload.generated(32, 90, 0)
    rows = np.arange(90)
    ops = (rows % 9).astype(np.int32)
    drawn, args = work.era.ops.ravel(), work.era.args.ravel()
    args = np.stack([args[drawn == op][row] for row, op in zip(rows // 9, ops)])
    plan = EraPlan(
        ops.reshape(90, 1, 1, 1),
        args.reshape(90, 1, 1, 1),
        np.ones((90, 1, 1), np.float32),
        np.ones((90, 1), np.float32),
        work.era.crop,
        work.era.flip,
    )
    result = kornia_views(torch.from_numpy(work.images).float() / 255, plan).numpy()
    difference = np.abs(result - era_views(work.images, plan))[1]
    for op, name in enumerate(OPERATIONS):
        assert np.mean(difference[ops == op] < 2.5 / 255) > 0.93, name


def test_augmix_in_pillow_has_the_strength_of_ours() -> None:
    """Draws differ, distributions do not: how far views are from the clean one, on average."""
    work = Workload.generated(32, 100, 0)
    found = jobs(work, threads=1)
    clean, ours = np.asarray(found["augmix"]())
    theirs = found["augmix-pillow"]()
    assert not np.array_equal(theirs, found["augmix-pillow"]())
    assert np.abs(theirs - clean).mean() == pytest.approx(np.abs(ours - clean).mean(), rel=0.25)


def test_prime_gets_fewer_images_where_torch_would_need_too_much() -> None:
    assert Workload.generated(32, 128, 0).batch("PRIME") == 128
    work = Workload.generated(224, 8, 0)
    assert work.batch("ERA") == 8 and work.batch("PRIME") == 5


def test_what_cannot_run_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(candidates.importlib.util, "find_spec", lambda name: None)
    assert skipped("cpu") == [{"name": "kornia", "reason": "kornia is not installed; pip install kornia"}]
    monkeypatch.setattr(candidates, "probe", lambda name: Probe(name, False, "numba is not installed", "pip install numba"))
    entries = skipped("cpu")
    assert [entry["name"] for entry in entries] == [*OURS, "kornia"]
    assert entries[0]["reason"] == "numba is not installed; pip install numba"


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_candidates_agree_on_cuda(views: Dict[str, np.ndarray]) -> None:
    found = jobs(Workload.generated(20, 8, 0), threads=1, device="cuda")
    for name in ("era", "torch", "prime"):
        assert np.mean(np.abs(found[name]().cpu().numpy() - views[name]) < 1e-3) > 0.99, name
    assert found["prime-torch"]().is_cuda
    if "kornia" in views:
        assert np.mean(np.abs(found["kornia"]().cpu().numpy() - views["kornia"]) < 0.02) > 0.98
