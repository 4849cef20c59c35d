"""The CUDA execution: in the simulator against the CPU, bit for bit, and on a GPU where there is one."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Callable, Tuple

import numpy as np
import pytest
import torch

from gearnn.kernels import era_cuda
from gearnn.kernels.era import era_views
from gearnn.kernels.era_plan import draw_plan
from gearnn.kernels.prime_plan import PRIME_OPERATIONS, draw_prime_plan

# In a process of its own: the simulator must be chosen before Numba is imported. Few lanes, since it runs each as a thread.
SIMULATE = """
import sys
import numpy as np
from gearnn.kernels import era_cuda
from gearnn.kernels.era import era_views
from gearnn.kernels.era_plan import OPERATIONS, draw_plan
from gearnn.kernels.prime_plan import PRIME_OPERATIONS, draw_prime_plan

era_cuda.COLUMN_LANES, era_cuda.ROW_LANES = 3, 2
family, channels, height, width = sys.argv[1], *map(int, sys.argv[2:5])
y, x = np.mgrid[0:height, 0:width]
images = np.stack([(120 + 100 * np.sin(x * (0.5 + 0.1 * i) + y * 0.3 + c)) for i in range(4) for c in range(channels)])
images = images.reshape(4, channels, height, width).astype(np.uint8)
settings = dict(seed=int(sys.argv[5]), epoch=0, image_size=(height, width), views=3, pad=2, flip=True)
if family == "augmix":
    plans = [draw_plan(range(4), severity=10, **settings), draw_plan(range(4), width=2, depth=None, **settings)]
else:
    plans = [draw_prime_plan(range(4), width=1, depth=1, cut_max=7, operations=PRIME_OPERATIONS, **settings)]
if sys.argv[6] == "global":
    era_cuda.shared_capacity = lambda *_: None
used = set()
for plan in plans:
    used |= set(plan.ops.ravel().tolist())
    simulated = era_views(images, plan, backend="cuda", channels_last=True, mean=[0.4] * channels, std=[0.3] * channels)
    compiled = era_views(images, plan, backend="numba", channels_last=True, mean=[0.4] * channels, std=[0.3] * channels)
    print(plan.family, float(np.abs(simulated - compiled).max()))
    assert np.abs(simulated - compiled).max() <= (0 if family == "augmix" else 1e-3)
    assert np.abs(simulated[1:] - simulated[0]).max() > 0.01
half = era_views(images, plans[0], backend="cuda", dtype="float16")
assert np.array_equal(half, era_views(images, plans[0], backend="numba", dtype="float16")) or family == "prime"
# The way of torch tensors on a GPU, with the simulator's memory in place of the device's.
import torch
from numba.cuda.simulator.cudadrv.devicearray import FakeCUDAArray
from gearnn.kernels import era
era.on_device = era_cuda.on_device = lambda array: True
era_cuda.current_stream = era_cuda.device_index = lambda array: 0
era_cuda.cuda.as_cuda_array = lambda tensor, sync: FakeCUDAArray(tensor.numpy())
era_cuda._uploaded = lambda plan, empty, stream: [era_cuda.cuda.to_device(np.ascontiguousarray(array)) for array in plan]
tensor = era_views(torch.from_numpy(images), plans[0], backend="cuda", channels_last=True)
era.on_device = lambda array: False
assert torch.allclose(tensor, era_views(torch.from_numpy(images), plans[0], backend="numba"), atol=1e-3)
print(sorted(used))
"""


@pytest.mark.parametrize(
    ("family", "channels", "size", "seed", "scratch"),
    [
        ("augmix", 3, (9, 8), 0, "shared"),
        ("augmix", 1, (7, 12), 1, "shared"),
        ("augmix", 3, (6, 7), 2, "global"),
        ("prime", 3, (7, 8), 0, "global"),
    ],
)
def test_the_simulator_agrees_with_the_cpu(family: str, channels: int, size: Tuple[int, int], seed: int, scratch: str) -> None:
    arguments = [family, channels, *size, seed, scratch]
    done = subprocess.run(
        [sys.executable, "-c", SIMULATE, *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**os.environ, "NUMBA_ENABLE_CUDASIM": "1"},
    )
    assert done.returncode == 0, done.stderr + done.stdout
    drawn = set(range(9)) if family == "augmix" else set(range(len(PRIME_OPERATIONS)))
    used = set(map(int, done.stdout.strip().splitlines()[-1].strip("[]").split(",")))
    assert len(used & drawn) >= len(drawn) - 2  # nearly every operation took part


def test_shared_memory_is_used_where_it_fits() -> None:
    assert era_cuda.shared_capacity("augmix", 3 * 32 * 32, 3, 1) == 3 * 32 * 32
    assert era_cuda.shared_capacity("augmix", 3 * 64 * 64, 3, 1) == 3 * 64 * 64
    assert era_cuda.shared_capacity("augmix", 3 * 32 * 32, 3, 3) == 3 * 32 * 32
    assert era_cuda.shared_capacity("augmix", 3 * 65 * 64, 3, 1) is None
    assert era_cuda.shared_capacity("augmix", 3 * 64 * 64, 3, 3) is None
    assert era_cuda.shared_capacity("prime", 3 * 32 * 32, 3, 1) is None
    for capacity in (3 * 32 * 32, 3 * 64 * 64):
        assert era_cuda.shared_bytes("augmix", capacity, False) <= 48 * 1024


needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("size", [(8, 8), (32, 32), (33, 47), (64, 64), (65, 66), (224, 224)])
@pytest.mark.parametrize("width", [1, 3])
def test_cuda_agrees_with_the_cpu(pictures: Callable[..., np.ndarray], size: Tuple[int, int], width: int) -> None:
    images = pictures(0, 33, 3, *size)
    plan = draw_plan(range(33), seed=0, epoch=0, image_size=size, width=width, pad=4, flip=True)
    expected = era_views(images, plan)
    tensor = torch.from_numpy(images).cuda()
    for channels_last in (False, True):
        result = era_views(tensor, plan, backend="cuda", channels_last=channels_last)
        assert result.is_cuda
        np.testing.assert_allclose(result.cpu().numpy(), expected, atol=1e-5)  # levels are equal, mixing rounds differently


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("operation", PRIME_OPERATIONS)
def test_primitives_on_cuda_agree_with_the_cpu(pictures: Callable[..., np.ndarray], operation: str) -> None:
    images = pictures(0, 17, 3, 32, 32)
    plan = draw_prime_plan(range(17), seed=0, epoch=0, image_size=(32, 32), operations=(operation,), depth=1)
    result = era_views(torch.from_numpy(images).cuda(), plan, backend="cuda").cpu().numpy()
    np.testing.assert_allclose(result, era_views(images, plan), atol=1e-3)


@pytest.mark.gpu
@needs_gpu
def test_cuda_runs_on_torchs_current_stream(pictures: Callable[..., np.ndarray]) -> None:
    images = pictures(0, 64, 3, 32, 32)
    plan = draw_plan(range(64), seed=0, epoch=0, image_size=(32, 32))
    tensor = torch.from_numpy(images).cuda()
    expected = era_views(tensor, plan, backend="cuda")
    torch.cuda.synchronize()
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        late = torch.zeros_like(tensor)
        torch.cuda._sleep(50_000_000)
        late.copy_(tensor)
        result = era_views(late, plan, backend="cuda") * 2
    stream.synchronize()
    assert torch.equal(result / 2, expected)


@pytest.mark.gpu
@needs_gpu
def test_cuda_takes_any_layout_and_an_empty_batch(pictures: Callable[..., np.ndarray]) -> None:
    images = pictures(0, 8, 3, 16, 16)
    plan = draw_plan(range(8), seed=0, epoch=0, image_size=(16, 16))
    tensor = torch.from_numpy(images).cuda()
    expected = era_views(tensor, plan, backend="cuda")
    assert torch.equal(era_views(tensor.to(memory_format=torch.channels_last), plan, backend="cuda"), expected)
    assert era_views(tensor[:0], plan.select(slice(0, 0)), backend="cuda").shape == (4, 0, 3, 16, 16)
    half = era_views(tensor, plan, backend="cuda", dtype="float16")
    assert half.dtype == torch.float16 and torch.allclose(half.float(), expected, atol=1e-3)
