"""The fatbin that is built ahead of time: which architectures it holds, and how it gets into the package."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import List

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def environment() -> dict:
    if shutil.which("cmake") is None:
        pytest.skip("no cmake")
    place = shutil.which("nvcc") or "/usr/local/cuda/bin/nvcc"
    if not Path(place).is_file():
        pytest.skip("no nvcc, neither on the path nor in /usr/local/cuda")
    return {**os.environ, "PATH": f"{os.environ['PATH']}:{Path(place).parent}"}


def architectures(fatbin: bytes) -> List[int]:
    """Of the machine code in a fatbin, which has entries (uint16 kind, uint16, uint32 header size, uint64 size, …, uint32 sm)."""
    magic, _, position, size = struct.unpack_from("<IHHQ", fatbin)
    assert magic == 0xBA55ED50
    end, found = position + size, []
    while position < end:
        kind, _, header, length = struct.unpack_from("<HHIQ", fatbin, position)
        if kind == 2:
            found.append(struct.unpack_from("<I", fatbin, position + 28)[0])
            assert b"ELF" in fatbin[position + header : position + header + 16]
        position += header + length
    return found


def configure(environment: dict, folder: Path, wanted: str) -> subprocess.CompletedProcess[str]:
    command = ["cmake", "-S", str(ROOT / "cmake"), "-B", str(folder), f"-DGEARNN_CUDA_ARCHITECTURES={wanted}"]
    return subprocess.run(command, env=environment, capture_output=True, text=True)


def test_the_fatbin_holds_what_was_asked_for(environment: dict, tmp_path: Path) -> None:
    asked = configure(environment, tmp_path / "build", "87;90;33")
    assert asked.returncode == 0, asked.stderr
    assert "sm_33 is left out" in asked.stdout
    subprocess.run(["cmake", "--build", str(tmp_path / "build")], check=True, env=environment, capture_output=True)
    install = ["cmake", "--install", str(tmp_path / "build"), "--prefix", str(tmp_path / "there")]
    subprocess.run(install, check=True, capture_output=True)
    fatbin = (tmp_path / "there" / "score.fatbin").read_bytes()
    assert architectures(fatbin) == [87, 90]
    for kernel in (b"tile_sums_float32", b"tile_sums_float16", b"tile_sums_bfloat16", b"channel_sums"):
        assert kernel in fatbin


def test_the_default_is_all_that_the_compiler_knows(environment: dict, tmp_path: Path) -> None:
    asked = configure(environment, tmp_path, "")
    assert asked.returncode == 0, asked.stderr
    listed = subprocess.run(["nvcc", "--list-gpu-arch"], env=environment, capture_output=True, text=True, check=True).stdout
    for architecture in (72, 75, 80, 86, 87, 89, 90, 120):
        known = f"compute_{architecture}\n" in listed
        assert (f"code=sm_{architecture}" in asked.stdout) == known
        assert (f"sm_{architecture} is left out" in asked.stdout) != known


def test_architectures_that_no_compiler_knows_are_an_error(environment: dict, tmp_path: Path) -> None:
    refused = configure(environment, tmp_path, "33")
    assert refused.returncode != 0
    assert "compiles for none of 33" in " ".join(refused.stderr.split())


def _wheel(tmp_path: Path, environment: dict) -> subprocess.CompletedProcess[str]:
    source = tmp_path / "source"
    source.mkdir()
    for name in ("gearnn", "engine", "kernels", "cmake"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__", "*.fatbin"))
    for name in ("setup.py", "pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, source / name)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", str(tmp_path), "."]
    return subprocess.run(command, cwd=source, env=environment, capture_output=True, text=True)


def test_setup_packs_the_fatbin_only_when_asked(environment: dict, tmp_path: Path) -> None:
    asked = {**environment, "GEARNN_BUILD_CUDA": "1", "GEARNN_CUDA_ARCHITECTURES": "87"}
    done = _wheel(tmp_path, asked)
    assert done.returncode == 0, done.stderr
    wheel = zipfile.ZipFile(next(tmp_path.glob("gearnn-*.whl")))
    assert architectures(wheel.read("gearnn/kernels/score.fatbin")) == [87]


def test_without_cmake_setup_says_so(tmp_path: Path) -> None:
    done = _wheel(tmp_path, {**os.environ, "GEARNN_BUILD_CUDA": "1", "PATH": str(tmp_path)})
    assert done.returncode != 0
    assert "needs CMake 3.16 or later" in done.stdout + done.stderr
