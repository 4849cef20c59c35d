"""Maps the top-level folders onto one import name; everything else is in pyproject.toml.

Loose packages called ``engine`` and ``kernels`` would clash with others (Hugging Face ships ``kernels``),
so they install as ``gearnn.engine`` and ``gearnn.kernels``.
"""

from setuptools import find_packages, setup

FOLDERS = {"gearnn": "gearnn", "gearnn.engine": "engine", "gearnn.kernels": "kernels"}


def packages():
    for name, folder in FOLDERS.items():
        yield name
        for child in find_packages(folder):
            yield f"{name}.{child}"


setup(packages=list(packages()), package_dir=FOLDERS)
