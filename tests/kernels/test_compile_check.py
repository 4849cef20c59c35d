"""Every CUDA variant of the body compiles for Xavier NX, Orin and H100 with no GPU, and nothing spills."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Dict, List

import pytest

from gearnn.kernels import compile_check
from gearnn.kernels.errors import KernelError

needs_compilers = pytest.mark.skipif(
    importlib.util.find_spec("numba_cuda") is None or importlib.util.find_spec("nvidia") is None,
    reason="no CUDA compilers: pip install 'gearnn[compilers]'",
)


@pytest.mark.slow
@needs_compilers
def test_nothing_spills_on_any_architecture() -> None:
    command = [sys.executable, "-m", "gearnn.kernels.compile_check", "--json", "--architectures"]
    running = {
        name: subprocess.Popen([*command, name], stdout=subprocess.PIPE, text=True) for name in compile_check.ARCHITECTURES
    }
    found: Dict[str, List[dict]] = {}
    for name, process in running.items():
        output, _ = process.communicate(timeout=600)
        assert process.returncode == 0, output
        found[name] = json.loads(output)["results"]
    for name, rows in found.items():
        assert len(rows) == len(compile_check.variants())
        for row in rows:
            print(name, row["kernel"], row["registers"], "registers,", row["shared_bytes"], "bytes shared")
            assert row["spill_bytes"] == 0 and row["stack_bytes"] == 0
            assert 16 <= row["registers"] <= 255
            assert row["shared_bytes"] <= 48 * 1024
            assert bool(row["shared_bytes"]) == ("shared" in row["kernel"])


@needs_compilers
def test_an_architecture_the_compilers_do_not_know_is_refused() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "gearnn.kernels.compile_check", "--architectures", "sm_12"], capture_output=True, text=True
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: ") and "sm_12" in done.stderr and len(done.stderr.strip().splitlines()) == 1


def test_a_missing_assembler_is_named_with_its_cure(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def missing(name: str) -> None:
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(compile_check.importlib, "import_module", missing)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(KernelError, match="no ptxas.*pip install"):
        compile_check.find_ptxas()


def test_an_assembler_that_refuses_is_quoted(tmp_path: Path) -> None:
    refusing = tmp_path / "ptxas"
    refusing.write_text("#!/bin/sh\necho 'ptxas fatal: no such thing' >&2\nexit 1\n")
    refusing.chmod(0o755)
    with pytest.raises(KernelError, match="ptxas refuses era for sm_72: ptxas fatal: no such thing"):
        compile_check.assemble("era", ".version 6.0", "sm_72", refusing)
