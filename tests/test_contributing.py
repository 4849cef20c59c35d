"""The examples of CONTRIBUTING.md, run as they stand there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import List, Tuple

import pytest

ROOT = Path(__file__).parents[1]
FILES = ("tiny_net", "balanced", "vignette", "darken", "onnx_reference", "ina226")


def _blocks() -> List[Tuple[str, str]]:
    """(language, code) of every block in the document."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    return re.findall(r"^```(\w+)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


def _named(code: str) -> str:
    """The file that a block is, by its first line."""
    found = re.match(r"# (\w+)\.py\n", code)
    return found.group(1) if found else ""


@pytest.mark.slow
def test_every_example_runs(tmp_path: Path) -> None:
    """Files are written, the package's entry points installed, and what uses them is run in one process, in order."""
    codes = [code for language, code in _blocks() if language == "python"]
    assert tuple(name for name in map(_named, codes) if name) == FILES
    for code in codes:
        if _named(code):
            (tmp_path / f"{_named(code)}.py").write_text(code, encoding="utf-8")
    _install(tmp_path, next(code for language, code in _blocks() if language == "toml"))
    uses = [code for code in codes if not _named(code)]
    assert len(uses) == 1 + 4  # the package's, for network and grower, and one for each other extension
    (tmp_path / "main.py").write_text("\n".join(uses) + "\nprint('all of it')\n", encoding="utf-8")
    done = subprocess.run([sys.executable, "main.py"], cwd=str(tmp_path), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("all of it\n")


def _install(folder: Path, pyproject: str) -> None:
    """What pip makes of a project's entry points."""
    folder = folder / "tiny-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n", encoding="utf-8")
    text = re.sub(r'\[project\.entry-points\."(.*)"\]', r"[\1]", pyproject).replace('"', "")
    (folder / "entry_points.txt").write_text(text, encoding="utf-8")


def test_the_registries_that_the_table_names_are_there() -> None:
    from gearnn.engine.rails import register_meter
    from gearnn.engine.runtimes import register_runtime
    from gearnn.growth.growers import register_grower
    from gearnn.kernels.operation import register_operation
    from gearnn.models import register_model
    from gearnn.robustness import register_corruption

    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    known = (register_meter, register_runtime, register_grower, register_operation, register_model, register_corruption)
    assert all(f"`{function.__name__}`" in text for function in known)
    for path, name in re.findall(r"`(\w+)` in `([\w/.]+\.py)`", text):
        assert f"{path}" in (ROOT / name).read_text(encoding="utf-8"), (path, name)
