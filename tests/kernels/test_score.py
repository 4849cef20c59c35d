"""Sums per channel and the ranking of all layers: right in every layout, type and size, or refused."""

from __future__ import annotations

import subprocess
import sys
from typing import Any, Tuple

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gearnn.kernels.errors import KernelError
from gearnn.kernels.score import channel_sums, top_k


def exact(a: np.ndarray, g: np.ndarray) -> np.ndarray:
    """Σ g·a, Σ g², Σ a² in float64, (3, C)."""
    a, g = a.astype(np.float64), g.astype(np.float64)
    axes = (0, *range(2, a.ndim))
    return np.stack([(g * a).sum(axes), (g * g).sum(axes), (a * a).sum(axes)])


def errors(sums: Any, a: np.ndarray, g: np.ndarray) -> np.ndarray:
    """(3, C), relative to Σ |g·a|, Σ g², Σ a²."""
    scale = exact(np.abs(a), np.abs(g))
    return np.abs(np.stack([np.asarray(one) for one in sums]) - exact(a, g)) / np.where(scale > 0, scale, 1)


def pair(shape: Tuple[int, ...], seed: int = 0) -> Tuple[torch.Tensor, torch.Tensor]:
    """Activations of non-zero mean and gradients, each channel on a scale of its own."""
    generator = torch.Generator().manual_seed(seed)
    scale = torch.logspace(-3, 1, shape[1]).reshape(1, -1, *[1] * (len(shape) - 2))
    a = torch.randn(shape, generator=generator).abs() + 0.3
    return a, (torch.randn(shape, generator=generator) + 0.2) * scale


def channels_last(x: torch.Tensor) -> torch.Tensor:
    return x.movedim(1, -1).contiguous().movedim(-1, 1)


LAYOUTS = {
    "planar": lambda x: x,
    "channels-last": channels_last,
    "transposed": lambda x: x.transpose(0, -1).contiguous().transpose(0, -1),
    "strided": lambda x: x.repeat_interleave(2, dim=1)[:, ::2],
}


@settings(max_examples=120, deadline=None)
@given(
    shape=st.one_of(
        st.tuples(st.integers(1, 40), st.integers(1, 700)),
        st.tuples(st.integers(1, 9), st.integers(1, 40), st.integers(1, 90)),
        st.tuples(st.integers(1, 12), st.integers(1, 40), st.integers(1, 40), st.integers(1, 21)),
    ),
    dtype=st.sampled_from([torch.float32, torch.float16, torch.bfloat16]),
    layouts=st.tuples(st.sampled_from(sorted(LAYOUTS)), st.sampled_from(sorted(LAYOUTS))),
    seed=st.integers(0, 1000),
)
def test_every_layout_type_and_size_is_summed_exactly(
    shape: Tuple[int, ...], dtype: torch.dtype, layouts: Tuple[str, str], seed: int
) -> None:
    a, g = (LAYOUTS[layout](x.to(dtype)) for layout, x in zip(layouts, pair(shape, seed)))
    wide_a, wide_g = a.float().numpy(), g.float().numpy()
    compiled = channel_sums(a, g, backend="numba", threads=1)
    assert all(one.dtype == torch.float64 and one.shape == (shape[1],) for one in compiled)
    assert errors(compiled, wide_a, wide_g).max() < 1e-6
    assert errors(channel_sums(a, g, backend="reference"), wide_a, wide_g).max() < 1e-12


@pytest.mark.parametrize("layout", ["planar", "channels-last"])
@pytest.mark.parametrize("shape", [(64, 32, 32, 32), (1200, 3, 32, 32), (128, 512, 2, 2), (2, 1, 1100, 1000)])
def test_large_sums_lose_nothing(shape: Tuple[int, ...], layout: str) -> None:
    a, g = (LAYOUTS[layout](x) for x in pair(shape))
    assert errors(channel_sums(a, g, backend="numba"), a.numpy(), g.numpy()).max() < 1e-6


@pytest.mark.parametrize("layout", ["planar", "channels-last"])
def test_equal_elements_do_not_pile_up_rounding(layout: str) -> None:
    """With all elements equal, every rounding goes the same way."""
    for value in (0.1, 1 / 3, 0.7):
        a = LAYOUTS[layout](torch.full((100, 5, 30, 40), value))
        assert errors(channel_sums(a, a, backend="numba"), a.numpy(), a.numpy()).max() < 1e-6


@pytest.mark.parametrize("shape", [(700, 24, 14, 14), (90, 64, 64, 64), (20, 700, 30, 30)])
def test_threads_do_not_change_a_bit(shape: Tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gearnn.kernels.score_cpu._THREAD", 1000)
    for arrange in (LAYOUTS["planar"], channels_last):
        a, g = (arrange(x) for x in pair(shape))
        alone = channel_sums(a, g, backend="numba", threads=1)
        for threads in (2, 3):
            assert all(torch.equal(x, y) for x, y in zip(alone, channel_sums(a, g, backend="numba", threads=threads)))


def test_infinities_stay_in_their_channel() -> None:
    """Rows of odd widths are read in whole vectors, beyond their end: what lies there must not matter."""
    for arrange in (LAYOUTS["planar"], channels_last):
        a, g = pair((300, 523, 1, 3))
        a[:, 200], a[:, 519] = torch.inf, torch.nan
        sums = channel_sums(arrange(a), arrange(g), backend="numba")
        broken = ~torch.isfinite(sums.aa)
        assert broken.nonzero().flatten().tolist() == [200, 519]


def test_what_comes_in_decides_what_comes_out() -> None:
    a, g = pair((4, 3, 5, 5))
    of_tensors = channel_sums(a.requires_grad_(), g)
    of_arrays = channel_sums(a.detach().numpy(), g.numpy())
    assert isinstance(of_tensors.ga, torch.Tensor) and isinstance(of_arrays.ga, np.ndarray)
    assert not of_tensors.ga.requires_grad
    np.testing.assert_array_equal(of_tensors.ga.numpy(), of_arrays.ga)
    half = a.detach().numpy().astype(np.float16)
    assert errors(channel_sums(half, half), half.astype(np.float32), half.astype(np.float32)).max() < 1e-6


def test_float64_takes_the_reference() -> None:
    a, g = (x.double() for x in pair((4, 3, 5, 5)))
    assert errors(channel_sums(a, g), a.numpy(), g.numpy()).max() < 1e-14
    with pytest.raises(KernelError, match="does not do"):
        channel_sums(a, g, backend="numba")


@pytest.mark.parametrize("shape", [(0, 3, 4, 4), (0, 5), (2, 3, 0, 4)])
@pytest.mark.parametrize("backend", ["numba", "reference"])
def test_nothing_sums_to_zero(shape: Tuple[int, ...], backend: str) -> None:
    sums = channel_sums(torch.ones(shape), torch.ones(shape), backend=backend)
    assert all(torch.equal(one, torch.zeros(shape[1], dtype=torch.float64)) for one in sums)


def test_what_does_not_fit_is_refused_in_one_sentence() -> None:
    a = torch.ones(2, 3, 4, 4)
    for left, right, reason in (
        (a.int(), a.int(), "int32"),
        (a, a.half(), "alike in shape and type"),
        (a, a[:, :2], "alike in shape and type"),
        (a[0, 0, 0], a[0, 0, 0], r"\(N, C\)"),
        (a[None], a[None], r"\(N, C\)"),
        (a, a.numpy(), "in one library"),
        ([1.0], a, "got list"),
    ):
        with pytest.raises(ValueError, match=reason) as caught:
            channel_sums(left, right)
        assert "\n" not in str(caught.value) and str(caught.value).count(". ") == 0
    with pytest.raises(ValueError, match="threads"):
        channel_sums(a, a, threads=0)


def test_a_later_process_starts_at_once() -> None:
    """Compiled code is kept on disk; what remains is importing Numba and reading it."""
    script = (
        "import time; start = time.perf_counter(); import numpy as np; from gearnn.kernels.score import channel_sums;"
        "x = np.ones((4, 8, 9, 9), np.float32); y = np.ones((4, 8), np.float32);"
        "channel_sums(x, x, backend='numba'); channel_sums(y, y, backend='numba'); print(time.perf_counter() - start)"
    )
    seconds = [float(subprocess.run([sys.executable, "-c", script], check=True, capture_output=True).stdout) for _ in range(2)]
    assert seconds[0] < 20 and seconds[1] < 4  # 10 s and 1 s where nothing else runs


SCORES = [[3.0, -1.0, 2.0], [], [2.0, 5.0, -1.0, 2.0]]


@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_the_best_of_all_layers_come_first_and_ties_keep_their_order(library: str) -> None:
    make = np.array if library == "numpy" else torch.tensor
    scores = [make(layer, dtype=np.float32 if library == "numpy" else torch.float32) for layer in SCORES]
    best = top_k(scores, 5)
    assert [type(one) for one in best] == [type(scores[0])] * 3
    assert list(zip(best.layer.tolist(), best.position.tolist(), best.value.tolist())) == [
        (2, 1, 5.0),
        (0, 0, 3.0),
        (0, 2, 2.0),
        (2, 0, 2.0),
        (2, 3, 2.0),
    ]
    worst = top_k(scores, 2, largest=False)
    assert list(zip(worst.layer.tolist(), worst.position.tolist())) == [(0, 1), (2, 2)]
    assert len(top_k(scores, 100).value) == 7
    assert len(top_k(scores, 0).value) == 0


@settings(max_examples=60, deadline=None)
@given(
    layers=st.lists(st.lists(st.integers(-4, 4), max_size=12), min_size=1, max_size=5),
    k=st.integers(0, 70),
    largest=st.booleans(),
)
def test_ranking_is_sorting_everything(layers: Any, k: int, largest: bool) -> None:
    everything = [(value, layer, position) for layer, values in enumerate(layers) for position, value in enumerate(values)]
    expected = sorted(everything, key=lambda one: (-one[0] if largest else one[0], one[1], one[2]))[:k]
    for scores in ([np.array(values, np.float64) for values in layers], [torch.tensor(v, dtype=torch.float64) for v in layers]):
        best = top_k(scores, k, largest)
        assert list(zip(best.value.tolist(), best.layer.tolist(), best.position.tolist())) == expected


def test_rankings_of_what_does_not_belong_together_are_refused() -> None:
    for scores, k in (([], 1), ([np.ones(2), torch.ones(2)], 1), ([np.ones((2, 2))], 1), ([np.ones(2)], -1)):
        with pytest.raises(ValueError, match="top_k needs"):
            top_k(scores, k)
