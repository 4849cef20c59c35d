"""Back ends are probed, chosen, and refused with reason and cure."""

from __future__ import annotations

import warnings
from typing import Iterator

import pytest

from gearnn.kernels import registry
from gearnn.kernels.errors import KernelError
from gearnn.kernels.registry import BACKENDS, Probe, choose, probe, probes


@pytest.fixture()
def fresh() -> Iterator[None]:
    """Nothing probed and nothing said yet."""
    registry.probe.cache_clear()
    registry._say_once.cache_clear()
    yield
    registry.probe.cache_clear()
    registry._say_once.cache_clear()


def test_every_back_end_says_what_it_runs_on_or_what_it_lacks() -> None:
    found = probes()
    assert tuple(found) == BACKENDS
    assert found["numba"].ready and "numba" in found["numba"].reason
    assert found["reference"].ready
    for state in found.values():
        assert state.reason and "\n" not in state.reason
        assert bool(state.cure) != state.ready


def test_a_back_end_that_is_not_installed_is_named_with_its_cure(fresh: None, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> str:
        raise ModuleNotFoundError("No module named 'numba'", name="numba")

    monkeypatch.setitem(registry._TRIALS, "numba", (missing, "pip install numba"))
    assert probe("numba") == Probe("numba", False, "numba is not installed", "pip install numba")


def test_auto_falls_back_and_says_so_once(fresh: None, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> str:
        raise RuntimeError("the driver is too old\nby far")

    monkeypatch.setitem(registry._TRIALS, "cuda", (broken, "update it"))
    with pytest.warns(RuntimeWarning, match="'numba' back end, since cuda cannot run: the driver is too old \\(update it\\)"):
        assert choose("auto", ("cuda", "numba"), "ERA") == "numba"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert choose("auto", ("cuda", "numba"), "ERA") == "numba"
        assert choose("auto", ("numba", "reference"), "ERA") == "numba"


def test_what_was_asked_for_runs_or_raises(fresh: None, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> str:
        raise RuntimeError("no device")

    monkeypatch.setitem(registry._TRIALS, "cuda", (broken, "plug one in"))
    assert choose("reference", ("numba", "reference"), "ERA") == "reference"
    with pytest.raises(KernelError, match="cannot run ERA: no device; plug one in, or choose auto"):
        choose("cuda", ("cuda", "numba"), "ERA")
    with pytest.raises(KernelError, match="'cupy' back end does not do ERA: choose auto or one of numba"):
        choose("cupy", ("numba",), "ERA")
    with pytest.raises(KernelError, match="no kernel back end called 'opencl'"):
        choose("opencl", ("numba",), "ERA")
    with pytest.raises(KernelError, match="no back end that runs here: cuda: no device"):
        choose("auto", ("cuda",), "ERA")
