"""What gets installed, and what it drags in."""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def test_the_wheel_holds_all_three_folders(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for name in ("setup.py", "pyproject.toml", "README.md", "gearnn", "engine", "kernels"):
        (source / name).symlink_to(ROOT / name)
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        str(tmp_path),
        str(source),
    ]
    subprocess.run(command, check=True)
    names = set(zipfile.ZipFile(next(tmp_path.glob("gearnn-*.whl"))).namelist())
    for folder, package in (("gearnn", "gearnn"), ("engine", "gearnn/engine"), ("kernels", "gearnn/kernels")):
        for module in (ROOT / folder).rglob("*.py"):
            assert f"{package}/{module.relative_to(ROOT / folder).as_posix()}" in names
    assert "gearnn/py.typed" in names
    assert not any(name.startswith(("engine/", "kernels/", "tests/")) for name in names)


LIGHT = (
    "gearnn",
    "gearnn.cli",
    "gearnn.config",
    "gearnn.engine",
    "gearnn.engine.runtimes",
    "gearnn.kernels.era",
    "gearnn.kernels.score",
)


@pytest.mark.parametrize("module", LIGHT)
def test_light_imports_stay_light(module: str) -> None:
    """Neither the deployment runtime nor the command line may pay for training."""
    heavy = ("torch", "scipy", "sklearn", "cv2", "onnx", "plotly", "numba")
    script = f"import sys, {module}; print([name for name in {heavy!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"


def test_the_base_install_asks_for_no_training_stack() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    base = text.split("dependencies = [", 1)[1].split("]", 1)[0]
    assert "onnxruntime" in base
    assert not any(name in base for name in ("torch", "scipy", "scikit", "opencv", "numba"))
    assert 'requires-python = ">=3.8"' in text


def test_public_names_resolve() -> None:
    import gearnn

    for name in gearnn.__all__:
        assert getattr(gearnn, name) is not None
    with pytest.raises(AttributeError, match="it offers ERA"):
        gearnn.nothing  # noqa: B018


def test_nothing_unpickles() -> None:
    """Only the restricted reader of the official CIFAR files may touch pickle."""
    for folder in ("gearnn", "engine", "kernels"):
        for module in (ROOT / folder).rglob("*.py"):
            text = module.read_text(encoding="utf-8")
            if module.name != "cifar.py":
                assert not re.search(r"import pickle|pickle\.|allow_pickle=True|joblib|shelve|marshal", text), module
            assert "torch.load" not in text, module
            assert "eval(" not in text.replace(".eval(", ""), module
