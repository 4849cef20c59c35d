"""The CUDA C++ of the channel sums: its logic on the CPU, its results on a GPU."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from pathlib import Path
from typing import Any, Callable, Tuple

import numpy as np
import pytest
import torch

from gearnn.kernels import score_cuda
from gearnn.kernels.registry import probe
from gearnn.kernels.score import channel_sums, top_k
from gearnn.kernels.score_cuda import fatbins, tiles_of
from gearnn.kernels.score_plan import flat_pair

SOURCE = Path(score_cuda.__file__).with_name("score.cu")
KINDS = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
SHAPES = [
    (2, 2, 16, 17), (3, 300, 2), (300, 5), (1, 1), (9, 260), (257, 1), (4, 17, 33), (8, 4, 16, 16), (7, 5, 7, 7), (2, 3, 50, 51),
    (3, 1, 20, 20), (20, 3, 4, 4),
]  # fmt: skip


def pair(shape: Tuple[int, ...], kind: str = "float32", last: bool = False) -> Tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    both = [(torch.randn(shape, generator=generator) + shift).to(KINDS[kind]) for shift in (0.5, 0.1)]
    a, g = (x.movedim(1, -1).contiguous().movedim(-1, 1) if last else x for x in both)
    return a, g


def check(sums: np.ndarray, a: torch.Tensor, g: torch.Tensor) -> None:
    a64, g64 = a.double().cpu(), g.double().cpu()
    axes = (0, *range(2, a.dim()))
    for found, left, right in zip(sums, (g64, g64, a64), (a64, g64, a64)):
        scale = (left * right).abs().sum(axes).numpy()
        assert (np.abs(found - (left * right).sum(axes).numpy()) <= 1e-6 * scale).all()


@pytest.fixture(scope="module")
def on_host(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., np.ndarray]:
    compiler = shutil.which("g++")
    if compiler is None:
        pytest.skip("no g++ to run score.cu on the CPU with")
    library = tmp_path_factory.mktemp("score") / "score.so"
    command = [compiler, "-O1", "-std=c++17", "-shared", "-fPIC", "-pthread", "-Wno-unknown-pragmas", f'-DSCORE_CU="{SOURCE}"']
    done = subprocess.run(
        [*command, str(Path(__file__).with_name("score_on_host.cpp")), "-o", str(library)], capture_output=True, text=True
    )
    if "_Float16" in done.stderr:
        pytest.skip("this g++ knows no _Float16")
    assert done.returncode == 0, done.stderr
    run = ctypes.CDLL(str(library)).run

    def sums(a: torch.Tensor, g: torch.Tensor, kind: str, elements: int) -> np.ndarray:
        bits = [x.view(torch.int16).numpy() if kind == "bfloat16" else x.numpy() for x in (a, g)]
        flat_a, flat_g, layout = flat_pair(*bits, np)
        tiles = tiles_of(layout, elements)
        out = np.full((3, layout.channels), np.nan)
        places = [ctypes.c_void_p(array.ctypes.data) for array in (flat_a, flat_g, out)]
        sizes: Any = (layout.channels, layout.size, tiles.depth, tiles.breadth, tiles.parts, tiles.blocks)
        run(kind.encode(), *places[:2], ctypes.c_longlong(layout.images), *sizes, places[2])
        return out

    return sums


@pytest.mark.parametrize("kind", sorted(KINDS))
@pytest.mark.parametrize("last", [False, True])
def test_the_kernels_logic_is_right_on_the_cpu(on_host: Callable[..., np.ndarray], kind: str, last: bool) -> None:
    for index, shape in enumerate(SHAPES if kind == "float32" else SHAPES[:3]):
        a, g = pair(shape, kind, last)
        check(on_host(a, g, kind, (1 << 13, 1000, 300)[index % 3]), a, g)


def test_a_named_folder_comes_before_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GEARNN_FATBIN_DIR", raising=False)
    beside = list(fatbins())
    monkeypatch.setenv("GEARNN_FATBIN_DIR", str(tmp_path))
    assert list(fatbins()) == beside
    (tmp_path / "score.fatbin").write_bytes(b"\0")
    assert list(fatbins()) == [tmp_path / "score.fatbin", *beside]


@pytest.fixture()
def gpu() -> None:
    if not probe("cupy").ready:
        pytest.skip(f"CuPy cannot run: {probe('cupy').reason}")
    if not torch.cuda.is_available():
        pytest.skip("torch sees no CUDA device")


@pytest.mark.gpu
@pytest.mark.parametrize("kind", sorted(KINDS))
@pytest.mark.parametrize("last", [False, True])
def test_cuda_agrees_with_float64_and_repeats_itself(gpu: None, kind: str, last: bool) -> None:
    for shape in [*SHAPES, (64, 32, 32, 32), (1200, 3, 32, 32), (16, 640, 14, 14), (2, 3, 224, 224)]:
        a, g = (x.cuda() for x in pair(shape, kind, last))
        sums = channel_sums(a, g, backend="cupy")
        assert all(one.is_cuda and one.dtype == torch.float64 for one in sums)
        check(np.stack([one.cpu().numpy() for one in sums]), a, g)
        assert all(torch.equal(x, y) for x, y in zip(sums, channel_sums(a, g, backend="cupy")))


@pytest.mark.gpu
def test_cuda_runs_on_torchs_current_stream(gpu: None) -> None:
    a, g = (x.cuda() for x in pair((64, 32, 32, 32)))
    expected = channel_sums(a, g, backend="cupy")
    torch.cuda.synchronize()
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        late = torch.zeros_like(a)
        torch.cuda._sleep(50_000_000)
        late.copy_(a)
        sums = channel_sums(late, g, backend="cupy")
    stream.synchronize()
    assert all(torch.equal(x, y) for x, y in zip(sums, expected))


@pytest.mark.gpu
def test_cuda_takes_strided_tensors_with_history_and_cupy_arrays(gpu: None) -> None:
    import cupy

    a, g = (x.cuda() for x in pair((6, 8, 5, 7)))
    strided = a[:, ::2].requires_grad_()
    check(np.stack([one.cpu().numpy() for one in channel_sums(strided, g[:, 1::2], backend="cupy")]), a[:, ::2], g[:, 1::2])
    sums = channel_sums(cupy.asarray(a.detach()), cupy.asarray(g), backend="cupy")
    assert isinstance(sums.ga, cupy.ndarray)
    check(np.stack([one.get() for one in sums]), a, g)
    empty = channel_sums(a[:0], g[:0], backend="cupy")
    assert empty.ga.is_cuda and not empty.ga.any()


@pytest.mark.gpu
def test_the_reference_serves_cuda_arrays(gpu: None) -> None:
    a, g = (x.cuda() for x in pair((6, 8, 5, 7), "bfloat16"))
    sums = channel_sums(a, g, backend="reference")
    assert sums.ga.is_cuda
    check(np.stack([one.cpu().numpy() for one in sums]), a, g)


@pytest.mark.gpu
def test_ranking_stays_on_the_device(gpu: None) -> None:
    import cupy

    scores = [np.array(layer, np.float32) for layer in ([3.0, -1.0, 2.0], [], [2.0, 5.0, -1.0, 2.0])]
    expected = top_k(scores, 6)
    tensors = top_k([torch.from_numpy(layer).cuda() for layer in scores], 6)
    arrays = top_k([cupy.asarray(layer) for layer in scores], 6)
    assert all(one.is_cuda for one in tensors) and all(isinstance(one, cupy.ndarray) for one in arrays)
    for tensor, array, number in zip(tensors, arrays, expected):
        np.testing.assert_array_equal(tensor.cpu().numpy(), number)
        np.testing.assert_array_equal(array.get(), number)
