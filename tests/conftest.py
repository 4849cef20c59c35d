"""Fixtures that several rooms share."""

from __future__ import annotations

import os
import shutil
import tarfile
import tempfile
from pathlib import Path, PurePosixPath

import pytest

from gearnn.openmp import wait_briefly

wait_briefly()  # before any test imports torch
os.environ["GEARNN_CORRUPTION_CACHE"] = "off"  # no test writes to the cache of whoever runs it

CIFAR10_ARCHIVE = Path(__file__).resolve().parents[2] / "shared" / "data" / "cifar10.tar.xz"


@pytest.fixture(scope="session")
def cifar10_dir() -> Path:
    """CIFAR-10 as image folders (train/<class>/*.jpg, test/<class>/*.jpg), unpacked once per machine.

    From GEARNN_DATA if that is such a folder, else from the archive beside the repository; skips where there is neither.
    """
    given = os.environ.get("GEARNN_DATA")
    if given and (Path(given) / "train" / "airplane").is_dir():
        return Path(given)
    if not CIFAR10_ARCHIVE.is_file():
        pytest.skip("no CIFAR-10: neither ../shared/data/cifar10.tar.xz nor image folders in GEARNN_DATA")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gearnn-tests"
    folder = cache / f"cifar10-{CIFAR10_ARCHIVE.stat().st_size}"
    if not folder.is_dir():
        cache.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(dir=str(cache)))
        try:
            with tarfile.open(CIFAR10_ARCHIVE) as archive:
                members = [member for member in archive if (member.isfile() or member.isdir()) and _inside(member.name)]
                archive.extractall(partial, members, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))
            partial.rename(folder)
        except OSError:
            if not folder.is_dir():  # else another test process was faster
                raise
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return folder


def _inside(name: str) -> bool:
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts
