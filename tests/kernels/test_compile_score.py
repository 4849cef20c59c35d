"""score.cu compiles for the boards with no GPU, fits their registers and spills nothing."""

from __future__ import annotations

import importlib.util
import re
import subprocess
from pathlib import Path
from typing import Dict

import pytest

from gearnn.kernels import score_cuda
from gearnn.kernels.compile_check import ARCHITECTURES, find_ptxas
from gearnn.kernels.errors import KernelError

SOURCE = Path(score_cuda.__file__).with_name("score.cu")
KERNELS = {"tile_sums_float32", "tile_sums_float16", "tile_sums_bfloat16", "channel_sums"}


def _ptx(architecture: str) -> str:
    """NVRTC's PTX, by way of CuPy."""
    if importlib.util.find_spec("cupy") is None:
        pytest.skip("no CuPy to call NVRTC with: pip install 'gearnn[cuda12]'")
    from cupy.cuda.compiler import _NVRTCProgram

    program = _NVRTCProgram(SOURCE.read_text(encoding="utf-8"), "score.cu", method="ptx")
    ptx = program.compile((f"-arch=compute_{architecture[3:]}", "-std=c++14"))
    ptx = ptx[0] if isinstance(ptx, tuple) else ptx
    return ptx.decode() if isinstance(ptx, bytes) else str(ptx)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_score_cu_compiles_without_spills(architecture: str, tmp_path: Path) -> None:
    try:
        ptxas = find_ptxas()
    except KernelError as missing:
        pytest.skip(str(missing))
    (tmp_path / "score.ptx").write_text(_ptx(architecture), encoding="utf-8")
    command = [str(ptxas), f"-arch={architecture}", "-v", str(tmp_path / "score.ptx"), "-o", str(tmp_path / "score.cubin")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found: Dict[str, Dict[str, int]] = {}
    for name, report in re.findall(r"Compiling entry function '(\w+)'(.*?)(?=Compiling entry|\Z)", done.stderr, re.DOTALL):
        numbers = (r"(\d+) bytes spill stores", r"(\d+) bytes stack", r"Used (\d+) registers", r"(\d+) bytes smem")
        spill, stack, registers, shared = (int(re.findall(number, report)[0]) for number in numbers)
        found[name] = {"registers": registers, "shared bytes": shared, "stack bytes": stack, "spill bytes": spill}
        print(f"{architecture} {name}: {found[name]}")
    assert set(found) == KERNELS
    for resources in found.values():
        assert resources["spill bytes"] == resources["stack bytes"] == 0
        assert resources["registers"] <= 64  # 4 blocks of 256 threads on a multiprocessor of a Xavier
        assert resources["shared bytes"] <= 12 << 10
