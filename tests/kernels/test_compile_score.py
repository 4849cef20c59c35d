"""score.cu compiles for the boards with no GPU, fits their registers and spills nothing."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from gearnn.kernels import score_cuda
from gearnn.kernels.compile_check import ARCHITECTURES, assemble, find_ptxas
from gearnn.kernels.errors import KernelError

SOURCE = Path(score_cuda.__file__).with_name("score.cu")
KERNELS = {"tile_sums_float32", "tile_sums_float16", "tile_sums_bfloat16", "channel_sums"}


def _ptx(architecture: str) -> str:
    """NVRTC's PTX, by way of CuPy."""
    if importlib.util.find_spec("cupy") is None:
        pytest.skip("no CuPy to call NVRTC with: pip install 'gearnn[compilers]'")
    from cupy.cuda.compiler import _NVRTCProgram

    program = _NVRTCProgram(SOURCE.read_text(encoding="utf-8"), "score.cu", method="ptx")
    ptx = program.compile((f"-arch=compute_{architecture[3:]}", "-std=c++14"))
    ptx = ptx[0] if isinstance(ptx, tuple) else ptx
    return ptx.decode() if isinstance(ptx, bytes) else str(ptx)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_score_cu_compiles_without_spills(architecture: str) -> None:
    try:
        ptxas = find_ptxas()
    except KernelError as missing:
        pytest.skip(str(missing))
    found = assemble("score.cu", _ptx(architecture), architecture, ptxas)
    assert {resources.kernel for resources in found} == KERNELS
    for resources in found:
        print(resources)
        assert resources.spill_bytes == resources.stack_bytes == 0
        assert 0 < resources.registers <= 64  # 4 blocks of 256 threads on a multiprocessor of a Xavier
        assert 0 < resources.shared_bytes <= 12 << 10
