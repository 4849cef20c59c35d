"""Arbitrary and damaged bytes for every reader: only our own errors come out, soon."""

from __future__ import annotations

import importlib.util
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

_FILE = Path(__file__).resolve().parents[2] / "fuzzing_readers.py"
_spec = importlib.util.spec_from_file_location("fuzzing_readers", _FILE)
fuzzing = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(fuzzing)
SEEDS = fuzzing.seeds()
TARGETS = fuzzing.targets()


@st.composite
def damaged(draw, seeds):
    """A sound file with bytes overwritten, cut off, or put in; or any bytes at all."""
    if draw(st.integers(0, 9)) == 0:
        return draw(st.binary(max_size=200))
    data = bytearray(draw(st.sampled_from(seeds)))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, max(0, min(len(data), 600) - 1)))
        piece = draw(st.binary(min_size=1, max_size=8))
        data[at : at + draw(st.sampled_from([0, len(piece)]))] = piece
    return bytes(data[: draw(st.integers(0, len(data)))] if draw(st.booleans()) else data)


@pytest.mark.parametrize("name", sorted(TARGETS))
def test_only_our_own_errors(name):
    for seed in SEEDS[name]:
        TARGETS[name](seed)

    @settings(max_examples=500, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(damaged(SEEDS[name]))
    def feed(data):
        start = time.process_time()  # of this process: other work on the machine is not the reader's
        TARGETS[name](data)
        assert time.process_time() - start < 2

    feed()
