"""What gets installed, and what it drags in."""

from __future__ import annotations

import json
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


BARE = """
import json, sys, time
begun = time.perf_counter()
from gearnn.engine import load
with load(sys.argv[1]) as network:
    label = network.predict([sys.argv[2]])[0][0].label
seconds = time.perf_counter() - begun
import importlib.metadata
installed = {entry.metadata["Name"].lower() for entry in importlib.metadata.distributions()}
status = open("/proc/self/status").read()  # getrusage would give the parent's peak
peak = int(status.split("VmHWM:")[1].split()[0]) / 1024
print(json.dumps({"label": label, "seconds": seconds, "peak_mib": peak, "installed": sorted(installed)}))
"""
TRAINING = {"torch", "numba", "scipy", "onnx", "opencv-python-headless", "scikit-learn", "safetensors"}


@pytest.mark.slow
def test_the_base_install_predicts_from_a_bundle(tmp_path: Path) -> None:
    """In an environment of its own: what is installed, how large its wheels are, how long the first prediction takes."""
    import numpy as np
    import torch
    from PIL import Image

    from gearnn.engine.bundle import write_bundle
    from gearnn.engine.export import export_onnx
    from gearnn.models import create_model, deployable, scaled_widths

    torch.manual_seed(0)
    network = deployable(create_model("vgg19", 3, scaled_widths("vgg19", 0.25)), (0.4,) * 3, (0.3,) * 3).eval()
    export_onnx(network, (3, 32, 32), tmp_path / "model.onnx")
    bundle = write_bundle(
        tmp_path / "net.zip", {"fp32": tmp_path / "model.onnx"},
        name="net", classes=["a", "b", "c"], channels=3, size=32, default="fp32", facts={}, card="",
    )  # fmt: skip
    pixels = np.random.default_rng(0).integers(0, 256, (60, 50, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.jpg")

    source, wheels, place = tmp_path / "source", tmp_path / "wheels", tmp_path / "venv"
    source.mkdir()
    for name in ("setup.py", "pyproject.toml", "README.md", "gearnn", "engine", "kernels"):
        (source / name).symlink_to(ROOT / name)
    subprocess.run([sys.executable, "-m", "pip", "wheel", "--quiet", "-w", str(wheels), str(source)], check=True)
    assert sum(wheel.stat().st_size for wheel in wheels.iterdir()) < 120e6
    subprocess.run([sys.executable, "-m", "venv", str(place)], check=True)
    python = str(place / "bin" / "python")
    subprocess.run([python, "-m", "pip", "install", "--quiet", "--no-index", "--find-links", str(wheels), "gearnn"], check=True)

    command = [python, "-c", BARE, str(bundle), str(tmp_path / "photo.jpg")]
    runs = [
        json.loads(subprocess.run(command, check=True, capture_output=True, text=True, cwd=tmp_path).stdout) for _ in range(3)
    ]
    assert runs[0]["label"] in "abc"
    assert not TRAINING & set(runs[0]["installed"])
    assert min(entry["seconds"] for entry in runs) < 1.0
    assert max(entry["peak_mib"] for entry in runs) < 150
    shown = subprocess.run(
        [str(place / "bin" / "gearnn"), "predict", str(bundle), str(tmp_path / "photo.jpg")], capture_output=True, text=True
    )
    assert shown.returncode == 0, shown.stderr
    assert runs[0]["label"] in shown.stdout
