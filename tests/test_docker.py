"""The Docker files: what they copy exists and is let through, and nothing else is sent to the daemon."""

from __future__ import annotations

import re
from pathlib import Path
from typing import List

import pytest

ROOT = Path(__file__).parents[1]
FILES = ("Dockerfile", "docker/Dockerfile.jetpack5")


def _copied(text: str) -> List[str]:
    """Sources of every COPY, the target left off."""
    return [source for line in re.findall(r"^COPY (.+)$", text, re.MULTILINE) for source in line.split()[:-1]]


@pytest.mark.parametrize("name", FILES)
def test_what_is_copied_exists_and_is_enough_to_install(name: str) -> None:
    copied = _copied((ROOT / name).read_text(encoding="utf-8"))
    assert all((ROOT / source).exists() for source in copied)
    assert {"pyproject.toml", "setup.py", "README.md", "gearnn", "engine", "kernels"} <= set(copied)


def test_only_what_is_copied_is_sent() -> None:
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert "*" in lines
    allowed = {line[1:] for line in lines if line.startswith("!")}
    assert allowed == set().union(*(_copied((ROOT / name).read_text(encoding="utf-8")) for name in FILES))


def test_the_image_for_the_board_installs_what_training_needs_but_torch() -> None:
    pyproject = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    train = pyproject.split("\ntrain = [", 1)[1].split("]", 1)[0]
    text = (ROOT / "docker" / "Dockerfile.jetpack5").read_text(encoding="utf-8")
    for needed in re.findall(r'"([^"]+)"', train):
        if needed.startswith("torch"):
            assert needed not in text
        elif not needed.startswith("numba"):  # which the extra cuda11 brings
            assert f"'{needed}'" in text


def test_the_image_for_the_board_says_that_it_was_not_built() -> None:
    text = (ROOT / "docker" / "Dockerfile.jetpack5").read_text(encoding="utf-8")
    assert "NOT BUILT" in text
    assert "was not built here" in (ROOT / "docs" / "jetson.md").read_text(encoding="utf-8")
    assert re.search(r"^ARG BASE=nvcr\.io/nvidia/l4t-pytorch:r35\.", text, re.MULTILINE)  # L4T 35 is JetPack 5
