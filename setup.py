"""Maps the top-level folders onto one import name, and builds CUDA code when asked; everything else is in pyproject.toml.

Loose packages called ``engine`` and ``kernels`` would clash with others (Hugging Face ships ``kernels``),
so they install as ``gearnn.engine`` and ``gearnn.kernels``.
"""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
FOLDERS = {"gearnn": "gearnn", "gearnn.engine": "engine", "gearnn.kernels": "kernels"}


def packages():
    for name, folder in FOLDERS.items():
        yield name
        for child in find_packages(folder):
            yield f"{name}.{child}"


class BuildWithCuda(build_py):
    """With GEARNN_BUILD_CUDA=1, also builds kernels/score.cu ahead of time, by cmake/CMakeLists.txt."""

    def run(self):
        super().run()
        if os.environ.get("GEARNN_BUILD_CUDA") == "1":
            editable = getattr(self, "editable_mode", False)
            self.build_fatbin(ROOT / "kernels" if editable else Path(self.build_lib).resolve() / "gearnn" / "kernels")

    def build_fatbin(self, folder):
        if shutil.which("cmake") is None:
            raise SystemExit("GEARNN_BUILD_CUDA=1 needs CMake 3.16 or later: apt install cmake, or pip install cmake")
        architectures = os.environ.get("GEARNN_CUDA_ARCHITECTURES", "")
        with tempfile.TemporaryDirectory() as build:
            steps = (
                ["-S", str(ROOT / "cmake"), "-B", build, f"-DGEARNN_CUDA_ARCHITECTURES={architectures}"],
                ["--build", build],
                ["--install", build, "--prefix", str(folder)],
            )
            for step in steps:
                if subprocess.run(["cmake", *step]).returncode:
                    raise SystemExit(
                        "GEARNN_BUILD_CUDA=1 could not build kernels/score.cu, for the reason above: is nvcc on PATH?"
                    )


setup(packages=list(packages()), package_dir=FOLDERS, cmdclass={"build_py": BuildWithCuda})
