"""Damaged networks, bundles and run folders: only our own errors come out, soon."""

from __future__ import annotations

import importlib.util
import sys
import time
from pathlib import Path
from types import ModuleType

import pytest

pytest.importorskip("torch")
CASES = 500


def _load(name: str, place: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, Path(__file__).resolve().parents[1] / place)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


fuzzing = _load("fuzzing_loaders", "tests/fuzzing_loaders.py")
LOADERS = fuzzing.loaders()


@pytest.mark.parametrize("name", sorted(set(LOADERS) - {"onnx"}))
def test_only_our_own_errors(name: str) -> None:
    loader = LOADERS[name]
    assert all(loader.feed(sound) for sound in loader.seeds)
    taken, different = 0, set()
    for number in range(CASES):
        data = fuzzing.damaged(loader, 1, number)
        start = time.process_time()
        taken += loader.feed(data)
        assert time.process_time() - start < 2, f"case {number}"
        different.add(data)
    assert len(different) > CASES / 2  # a damaged file may be sound, but not all are
    assert name == "corruption_cache" or name.startswith("run_") or taken < CASES


def test_files_without_a_manifest_are_parsed_in_a_process_that_may_end() -> None:
    found = _load("benchmark_fuzz", "benchmarks/fuzz.py").feed("onnx", 1, CASES)
    assert found["findings"] == 0 and 0 < found["taken"] < CASES, found
