"""Compiled code is found again by later processes, and not after the source has changed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Dict

import pytest

from gearnn.kernels.registry import probe

ROOT = Path(__file__).resolve().parents[2]
# The folder given first on the command line stands in for gearnn.kernels.
SCRIPT = """
import json, sys, time
start = time.perf_counter()
import numpy as np
from kernels.era import era_views
from kernels.era_cpu import compiled
from kernels.era_plan import draw_plan
images = np.random.default_rng(0).integers(0, 256, (4, 3, 16, 16)).astype(np.uint8)
era_views(images, draw_plan(range(4), seed=0, epoch=0, image_size=(16, 16)), threads=1)
seconds = time.perf_counter() - start
stats = compiled("augmix", False).stats
print(json.dumps({"seconds": seconds, "hits": sum(stats.cache_hits.values()), "misses": sum(stats.cache_misses.values())}))
"""


@pytest.fixture()
def copy(tmp_path: Path) -> Path:
    """The kernels' folder by itself, with no compiled code."""
    shutil.copytree(ROOT / "kernels", tmp_path / "kernels", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def run(folder: Path, script: str = SCRIPT, **environment: str) -> Dict[str, float]:
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=folder, env={**os.environ, **environment}
    )
    assert done.returncode == 0, done.stderr
    found: Dict[str, float] = json.loads(done.stdout)
    return found


@pytest.mark.slow
def test_later_processes_find_what_the_first_one_compiled(copy: Path) -> None:
    first, second = run(copy), run(copy)
    assert (first["hits"], first["misses"]) == (0, 1)
    assert (second["hits"], second["misses"]) == (1, 0)
    assert second["seconds"] < first["seconds"] / 3
    body = copy / "kernels" / "era_operations.py"
    body.write_text(body.read_text() + "\n# changed\n")
    assert run(copy)["misses"] == 1


ON_CUDA = """
import json, sys, time
import numpy as np
from kernels.era import era_views
from kernels.era_cuda import compiled
from kernels.era_plan import draw_plan
images = np.random.default_rng(0).integers(0, 256, (4, 3, 16, 16)).astype(np.uint8)
plan = draw_plan(range(4), seed=0, epoch=0, image_size=(16, 16))
start = time.perf_counter()
views = era_views(images, plan, backend="cuda")
seconds = time.perf_counter() - start
assert np.mean(np.abs(views - era_views(images, plan, threads=1)) < 1e-4) >= 0.995
stats = compiled("augmix", False, 3 * 32 * 32, False).stats
print(json.dumps({"seconds": seconds, "hits": sum(stats.cache_hits.values()), "misses": sum(stats.cache_misses.values())}))
"""


@pytest.mark.gpu
@pytest.mark.skipif(not probe("cuda").ready, reason="no CUDA device for numba.cuda")
def test_code_for_a_gpu_is_found_again_too(copy: Path) -> None:
    first, second = run(copy, ON_CUDA), run(copy, ON_CUDA)
    print("first call", first["seconds"], "s, in a later process", second["seconds"], "s")
    assert (first["hits"], first["misses"]) == (0, 1)
    assert (second["hits"], second["misses"]) == (1, 0)
    assert second["seconds"] < 1


@pytest.mark.slow
def test_without_a_place_to_write_it_still_runs(copy: Path) -> None:
    blocked = copy / "file"
    blocked.write_text("in the way")
    found = run(copy, NUMBA_CACHE_DIR=str(blocked / "cache"))
    assert found["hits"] == 0


RACE = """
import sys, numba
from pathlib import Path
from kernels.compiling import cache_on_disk
def adder(amount):
    def add(x):
        return x + amount
    function = numba.njit(add)
    cache_on_disk(function, f"plus-{amount}")
    return function
if sys.argv[1] == "write":
    assert adder(1)(0) == 1
    seen = {path: path.read_bytes() for path in Path(".").rglob("*.nbi")}
    for path in seen:
        path.unlink()  # a process that began at the same time has not seen it
    assert adder(2)(0) == 2
    for path, content in seen.items():
        path.write_bytes(content)  # and the first wrote last
print(adder(1)(0), adder(2)(0))
"""


def test_processes_that_compile_at_the_same_time_do_not_mix_up_their_code(copy: Path) -> None:
    script = copy / "race.py"
    script.write_text(RACE)
    for mode in ("write", "read"):
        done = subprocess.run([sys.executable, str(script), mode], capture_output=True, text=True, cwd=copy)
        assert (done.returncode, done.stdout.split()) == (0, ["1", "2"]), done.stderr
